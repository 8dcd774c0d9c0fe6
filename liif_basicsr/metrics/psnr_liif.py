"""PSNR by the protocols of the LIIF paper."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.errors import LIIFError
from liif_basicsr.registration import register_in

# Luma of ITU-R BT.601 in [0, 255], without the offset, which cancels in a difference.
LUMA = (65.738 / 256, 129.057 / 256, 25.064 / 256)


@register_in("METRIC_REGISTRY")
def calculate_psnr_liif(
    img: Tensor | np.ndarray,
    img2: Tensor | np.ndarray,
    crop_border: int = 0,
    test_y_channel: bool = False,
    **kwargs: Any,
) -> float:
    """PSNR of floats that are clamped but not rounded to 8 bits, as the LIIF paper reports it.

    Args:
        img, img2: (1, C, H, W) or (C, H, W) in [0, 1], C: 3 for RGB, 1 for gray; or (H, W, 3) BGR or (H, W) gray uint8,
            as BasicSR's own models pass.
        crop_border: pixels ignored along each edge: scale ('benchmark') or scale + 6 ('div2k').
        test_y_channel: compare luma ('benchmark') instead of RGB ('div2k'). Gray images are compared as they are.

    Returns:
        PSNR in dB, infinite for equal images.

    Raises:
        LIIFError: the shapes differ, a tensor does not hold floats or an array uint8, or the border leaves no pixels.

    Source: `calc_psnr` of the official code, in float64.
    """
    difference = _as_tensor(img) - _as_tensor(img2) if img.shape == img2.shape else None
    if difference is None:
        raise LIIFError(f"calculate_psnr_liif: images of different shapes: {tuple(img.shape)}, {tuple(img2.shape)}")
    if test_y_channel and difference.shape[-3] != 1:
        difference = torch.einsum("...chw,c->...hw", difference, difference.new_tensor(LUMA))
    if isinstance(crop_border, bool) or not isinstance(crop_border, int) or crop_border < 0:
        raise LIIFError(f"calculate_psnr_liif: crop_border: expected an integer of at least 0, got {crop_border!r}")
    if 2 * crop_border >= min(difference.shape[-2:]):
        raise LIIFError(f"calculate_psnr_liif: a border of {crop_border} leaves no pixels of {tuple(img.shape)}")
    stop = -crop_border or None
    mse = difference[..., crop_border:stop, crop_border:stop].square().mean().item()
    return -10 * math.log10(mse) if mse else math.inf


def _as_tensor(img: Tensor | np.ndarray) -> Tensor:
    """RGB or gray, channels first, float64, clamped to [0, 1]."""
    expected = img.dtype == np.uint8 if isinstance(img, np.ndarray) else img.is_floating_point()
    if not expected:
        kind = "array" if isinstance(img, np.ndarray) else "tensor"
        raise LIIFError(f"calculate_psnr_liif: expected a tensor of floats or an array of uint8, got a {kind} of "
                        f"{img.dtype}; convert it")  # fmt: skip
    if isinstance(img, np.ndarray):
        img = img[..., None] if img.ndim == 2 else img
        img = torch.from_numpy(img[..., ::-1].copy()).movedim(-1, 0).double() / 255
    return img.double().clamp(0, 1)
