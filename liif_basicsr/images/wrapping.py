"""Images that repeat beyond their edges: seamless textures and panoramas."""
from __future__ import annotations

import math

import numpy as np

from liif_basicsr.errors import LIIFError

Size = tuple[int, int]


def check_axes(axes: str | None) -> str:
    """Check the option `tile_wrap` and return its axes; None becomes "".

    Raises:
        LIIFError: the option is not x, y, xy or None.
    """
    if axes not in (None, "x", "y", "xy"):
        raise LIIFError(f"tile_wrap: expected x, y or xy, got {axes!r}")
    return axes or ""


def repeat(pixels: np.ndarray, margins: Size) -> np.ndarray:
    """Continue an image (h, w, ...) periodically on each side, by `margins` pixels (along y, along x)."""
    rows, cols = (np.arange(-margin, n + margin) % n for margin, n in zip(margins, pixels.shape, strict=False))
    return pixels[np.ix_(rows, cols)] if any(margins) else pixels


def aligned_margins(axes: str, in_size: Size, size: Size, least: int | None) -> Size:
    """Return margins for `repeat`, along y and x, each as wide as a whole number of output pixels.

    Then each output pixel of the image coincides with an output pixel of the repeated image.

    Args:
        axes: axes along which the image repeats.
        in_size: (h, w) of the image.
        size: (H, W) of its output.
        least: smallest allowed margin in input pixels; None for a whole copy of the image on each side.
    """
    margins = [0, 0]
    for k, axis in enumerate("yx"):
        if axis in axes:
            step = in_size[k] // math.gcd(in_size[k], size[k])
            margins[k] = in_size[k] if least is None else math.ceil(least / step) * step
    return margins[0], margins[1]


def output_margins(margins: Size, in_size: Size, size: Size) -> Size:
    """Convert aligned margins from input pixels to output pixels."""
    return margins[0] * size[0] // in_size[0], margins[1] * size[1] // in_size[1]
