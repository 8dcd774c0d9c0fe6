"""PSNR as the LIIF paper measures it."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.errors import LIIFError
from liif_basicsr.registration import register_in

# Weights of red, green and blue in the luma of ITU-R BT.601. The luma's offset is omitted, because it cancels in a
# difference of two images.
LUMA = (65.738 / 256, 129.057 / 256, 25.064 / 256)


@register_in("METRIC_REGISTRY")
def calculate_psnr_liif(
    img: Tensor | np.ndarray,
    img2: Tensor | np.ndarray,
    crop_border: int = 0,
    test_y_channel: bool = False,
    data_range: float | None = None,
    band: int | str | None = None,
    **kwargs: Any,
) -> float:
    """Return the PSNR of two images as in the LIIF paper: values are clamped to [0, 1], but not rounded to 8 bits.

    Args:
        img, img2: the two images. Tensors are floats in [0, 1], of shape (1, C, H, W) or (C, H, W). Arrays, which
            BasicSR's own models pass, are uint8: BGR of shape (H, W, 3), or gray of shape (H, W).
        crop_border: number of pixels to ignore along each edge. The `benchmark` protocol uses the scale, and the
            `div2k` protocol the scale + 6.
        test_y_channel: compare luma, as the `benchmark` protocol does; otherwise compare RGB, as the `div2k` protocol
            does. Has no effect with `band`, or on images that do not have three channels.
        data_range: difference between the largest and the smallest possible value. If it is set, images may contain any
            numbers and are not clamped.
        band: number of the band (channel) to compare, starting at 1, or `mean` for the mean of the bands' PSNR. By
            default, the PSNR is computed from the mean squared error over all bands.

    Returns:
        PSNR in dB, infinite for equal images.

    Raises:
        LIIFError: the shapes differ, the border leaves no pixels, `data_range` is not positive, or `band` does not
            exist. Also if the range of the values is unknown: `data_range` is not set, and the images are neither
            float tensors nor uint8 arrays.

    Source: `calc_psnr` of the official code, in float64.
    """
    if img.shape != img2.shape:
        shapes = f"{tuple(img.shape)} and {tuple(img2.shape)}"
        raise LIIFError(f"calculate_psnr_liif: the images have different shapes, {shapes}; resize or crop one of them")
    if data_range is not None and not 0 < data_range < math.inf:
        raise LIIFError(f"calculate_psnr_liif: data_range: expected a positive number, got {data_range!r}")
    difference = _as_tensor(img, data_range) - _as_tensor(img2, data_range)
    if test_y_channel and band is None and difference.shape[-3] == 3:
        difference = torch.einsum("...chw,c->...hw", difference, difference.new_tensor(LUMA))[..., None, :, :]
    if isinstance(crop_border, bool) or not isinstance(crop_border, int) or crop_border < 0:
        raise LIIFError(f"calculate_psnr_liif: crop_border: expected an integer of at least 0, got {crop_border!r}")
    if 2 * crop_border >= min(difference.shape[-2:]):
        raise LIIFError(f"calculate_psnr_liif: a border of {crop_border} leaves no pixels of an image of shape "
                        f"{tuple(img.shape)}; lower crop_border")  # fmt: skip
    stop = -crop_border or None
    squares = difference[..., crop_border:stop, crop_border:stop].square()
    bands = squares.transpose(0, -3).flatten(1).mean(1).tolist()
    peak = 1 if data_range is None else data_range
    if band == "mean":
        return sum(_decibels(mse, peak) for mse in bands) / len(bands)
    if band is None:
        return _decibels(sum(bands) / len(bands), peak)
    if isinstance(band, bool) or not isinstance(band, int) or not 1 <= band <= len(bands):
        raise LIIFError(f"calculate_psnr_liif: band: expected a number from 1 to {len(bands)}, or mean, got {band!r}")
    return _decibels(bands[band - 1], peak)


def _decibels(mse: float, peak: float) -> float:
    return 20 * math.log10(peak) - 10 * math.log10(mse) if mse else math.inf


def _as_tensor(img: Tensor | np.ndarray, data_range: float | None) -> Tensor:
    """Return the image as a float64 tensor (C, H, W) or (1, C, H, W), scaled to [0, 1] unless `data_range` is set.

    Arrays of three channels are converted from BGR to RGB.
    """
    expected = img.dtype == np.uint8 if isinstance(img, np.ndarray) else img.is_floating_point()
    if not expected and data_range is None:
        container = "array" if isinstance(img, np.ndarray) else "tensor"
        raise LIIFError(f"calculate_psnr_liif: expected a float tensor or a uint8 array, got {img.dtype} {container}; "
                        "convert it, or pass data_range")  # fmt: skip
    if isinstance(img, Tensor):
        return img.double() if data_range is not None else img.double().clamp(0, 1)
    img = img[..., None] if img.ndim == 2 else img
    img = img[..., ::-1] if img.shape[2] == 3 else img
    values = torch.from_numpy(np.array(img, np.float64)).movedim(-1, 0)
    return values if data_range is not None else values / 255
