"""A network prepared for images: on a device, in a precision, fed with pixels."""
from __future__ import annotations

from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork
from liif_basicsr.devices import PRECISIONS, best_precision
from liif_basicsr.errors import LIIFError, suggest, summarize
from liif_basicsr.hub import checkpoint
from liif_basicsr.images.wrapping import aligned_margins, repeat


class Engine:
    """A network on a device, in a precision.

    Args:
        model: a network, or a name or file that `liif_basicsr.load` accepts.
        device: such as `cuda` or `cpu`. The default is the network's own, or the GPU if `model` is a name or file.
        precision: one of PRECISIONS. By default `best_precision` of the image.

    Raises:
        LIIFError: the model, device or precision does not exist, or the network is on another device.
    """

    def __init__(self, model: str | Path | nn.Module, device: str | None = None, precision: str | None = None) -> None:
        if precision is not None and precision not in PRECISIONS:
            raise LIIFError(f"precision: unknown {precision!r}{suggest(precision, PRECISIONS)}")
        if isinstance(model, nn.Module):
            if not isinstance(model, ContinuousNetwork):
                kind = type(model).__name__
                raise LIIFError(f"model: expected a network of this package, a name or a file, got {kind}")
            self.device = next(model.parameters()).device
            if device is not None and not includes(_open_device(device), self.device):
                raise LIIFError(f"device {device}: the network is on {self.device}; call net.to({device!r}) first")
            self.net = model
        else:
            self.device = _open_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self.net = cast(ContinuousNetwork, checkpoint.load(model).to(self.device))
        self.precision = precision

    def precision_for(self, pixels: np.ndarray) -> str:
        """Return the name of the precision for these pixels."""
        return self.precision or best_precision(self.device, 8 * pixels.itemsize)

    def to_input(self, plane: np.ndarray) -> Tensor:
        """Convert pixels (h, w, 1 or 3) to an input of the network: (1, C, h, w) in [0, 1], on its device.

        Raises:
            LIIFError: the image has color, and the network takes another number of channels.
        """
        channels = self.net.num_in_ch
        if plane.shape[2] not in (1, channels):
            raise LIIFError(f"the image has {plane.shape[2]} channels, the network takes {channels}; convert the image")
        scaled = np.divide(plane, full_scale(plane.dtype), dtype=np.float32)
        return torch.from_numpy(scaled).permute(2, 0, 1)[None].expand(1, channels, -1, -1).to(self.device)

    def to_pixels(self, colors: Tensor, like: np.ndarray) -> np.ndarray:
        """Convert an output (C, H, W) to pixels (H, W, C), clipped to the range of `like` and in its dtype.

        Raises:
            LIIFError: the output has infinities or NaN.
        """
        if not torch.isfinite(colors).all():
            precision = self.precision_for(like)
            remedy = "its weights are damaged or untrained: use another model"
            remedy = remedy if precision == "float32" else "choose precision float32"
            raise LIIFError(f"the network's output is not finite in {precision}; {remedy}")
        colors = colors.float().clamp(0, 1) * full_scale(like.dtype)
        if like.dtype.kind == "u":
            colors = colors.round()
        if like.dtype == np.uint8:
            colors = colors.byte()  # a quarter of the bytes to copy from a GPU
        return colors.permute(1, 2, 0).cpu().numpy().astype(like.dtype)


def full_scale(dtype: np.dtype) -> int:
    """Return the value of white: 255, 65535, or 1 for floats."""
    return np.iinfo(dtype).max if dtype.kind == "u" else 1


def split_alpha(pixels: np.ndarray, tile_wrap: str = "") -> tuple[np.ndarray, np.ndarray | None]:
    """Split pixels into colors (h, w, 1 or 3), also for fully transparent pixels, and alpha (h, w, 1) or None.

    Args:
        tile_wrap: axes along which the image repeats.
    """
    if pixels.shape[2] in (1, 3):
        return pixels, None
    return _fill_transparent(pixels[..., :-1], pixels[..., -1:], tile_wrap), pixels[..., -1:]


def _fill_transparent(colors: np.ndarray, alpha: np.ndarray, tile_wrap: str) -> np.ndarray:
    """Set fully transparent pixels, which are often black, to the color of the nearest visible pixel.

    Otherwise their hidden color would show as a fringe.
    """
    hidden = (alpha[..., 0] == 0).astype(np.uint8)
    if hidden.all() or not hidden.any():
        return colors
    h, w = hidden.shape
    # The nearest copy of a pixel is at most half an image away.
    margins = top, left = aligned_margins(tile_wrap, (h, w), (h, w), max(h, w) // 2 + 1)
    index = repeat(np.arange(h * w).reshape(h, w), margins)
    hidden = repeat(hidden, margins)
    _, label = cv2.distanceTransformWithLabels(hidden, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    visible = np.zeros(label.max() + 1, np.int64)  # label -> index of its pixel
    visible[label[hidden == 0]] = index[hidden == 0]
    return colors.reshape(-1, colors.shape[2])[visible[label[top : top + h, left : left + w]]]


def includes(requested: torch.device, own: torch.device) -> bool:
    """Return whether a network on `own` is on the requested device: `cuda` means any GPU, `cuda:1` that one."""
    return requested.type == own.type and requested.index in (None, own.index or 0)


def _open_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise LIIFError(f"device {name!r}: not usable here ({summarize(error)}); 'cpu' always is") from None
    return device
