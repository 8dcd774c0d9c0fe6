"""Pixel centers, cells and nearest features.

An image of n pixels along an axis spans [-1, 1] there. The center of pixel i is -1 + (2i + 1) / n, and a pixel is 2 / n
wide (LIIF, section 3; `make_coord` in the official code).
"""
from __future__ import annotations

from operator import index as as_int
from typing import NamedTuple

import torch
from torch import Tensor

from liif_basicsr.errors import LIIFError

# The official code adds this to the coordinate of each ensemble corner, so that a coordinate exactly between two
# features has only one nearest feature. It also clamps corners to this distance inside the image's border.
EPS_SHIFT = 1e-6


class Window(NamedTuple):
    """A part of an output image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return (H, W) as Python integers; raise LIIFError unless both are positive Python or NumPy integers."""
    try:
        height, width = (as_int(n) for n in size)
        if min(height, width) >= 1 and not any(isinstance(n, bool) for n in size):
            return height, width
    except (TypeError, ValueError):
        pass
    raise LIIFError(f"size: expected (H, W), two integers of at least 1, got {size}")


def check_window(
    size: tuple[int, int], window: tuple[int, int, int, int] | None
) -> tuple[tuple[int, int], Window]:
    """Check the size (H, W) of an image and a window of it, and return both. A window of None is the whole image.

    Raises:
        LIIFError: `size` is not two positive integers, or the window is not four integers, is empty or exceeds the
            image.
    """
    height, width = size = check_size(size)
    if window is None:
        return size, Window(0, 0, height, width)
    try:
        part = Window(*map(as_int, window))
    except TypeError:
        raise LIIFError(f"window: expected four integers (top, left, height, width), got {window}") from None
    rows = 0 <= part.top < part.top + part.height <= height
    cols = 0 <= part.left < part.left + part.width <= width
    if not rows or not cols:
        raise LIIFError(
            f"window: (top, left, height, width) = {tuple(part)} is empty or exceeds the image of size {size}; "
            "choose a window within the image"
        )
    return size, part


def pixel_centers(n: int, start: int = 0, stop: int | None = None, device: torch.device | None = None) -> Tensor:
    """Return the centers of the pixels from `start` to `stop` (exclusive), along an axis of `n` pixels.

    Returns:
        Tensor (stop - start,) float32 in [-1, 1], bit-identical to the official `make_coord`.
    """
    index = torch.arange(start, n if stop is None else stop, device=device).float()
    radius = 1 / n
    return -1 + radius + (2 * radius) * index


def make_coord(size: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Return the centers of all pixels of an image of `size` (H, W), row by row.

    Returns:
        Tensor (H * W, 2) float32, (y, x) in [-1, 1].
    """
    y, x = (pixel_centers(n, device=device) for n in size)
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).reshape(-1, 2)


def make_cell(size: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Return the height and width of a pixel of an image of `size` (H, W), as a float32 Tensor (2 / H, 2 / W)."""
    return torch.tensor([2 / size[0], 2 / size[1]], device=device)


def nearest_index(coord: Tensor, n: int) -> Tensor:
    """Return the index of the feature nearest to each coordinate along one axis.

    A coordinate halfway between two features gets the even index of the two. A coordinate outside the image gets the
    border feature. The official code has the same rules, because it calls `grid_sample` with mode "nearest" and
    align_corners=False.

    Args:
        coord: float tensor of any shape. The image spans [-1, 1].
        n: number of features along the axis.

    Returns:
        int64 Tensor of the same shape, in [0, n - 1].
    """
    # Round to the input's precision only once, at the end, as grid_sample's fused multiply-add on the CPU does.
    # Otherwise ties would be resolved differently.
    wide = coord + 1 if coord.device.type == "mps" else (coord + 1).double()  # MPS lacks float64
    position = (wide * (n / 2) - 0.5).to(coord.dtype)
    return position.round().long().clamp(0, n - 1)  # clamped last, so that NaN also becomes a valid index


def corner_index(coord: Tensor, n: int, side: int) -> tuple[Tensor, Tensor]:
    """Return which feature one side of the local ensemble uses along one axis, and the offset from that feature.

    Args:
        coord: float tensor of any shape in [-1, 1], along one axis of `n` features.
        side: -1 or +1 for the two neighbors, 0 for the nearest feature (no local ensemble).

    Returns:
        index: int64, same shape, in [0, n - 1].
        rel: float, same shape, (coord - center of that feature) * n. In this unit a feature is 2 wide.

    Source: LIIF, equations 3 and 4.
    """
    corner = coord + (side / n + EPS_SHIFT) if side else coord
    index = nearest_index(corner.clamp(-1 + EPS_SHIFT, 1 - EPS_SHIFT), n)
    center = -1 + 1 / n + (2 / n) * index.to(coord.dtype)
    return index, (coord - center) * n
