"""Where pixels lie: centres, cells, and the nearest feature of a coordinate.

An image of n pixels along an axis spans [-1, 1] there; the centre of pixel i is -1 + (2i + 1) / n and one
pixel is 2 / n wide (paper, section 3; `make_coord` in the official code).
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# The official code moves a corner by this much past the neighbouring centre, so that a coordinate which lies
# exactly between two features has one nearest feature; it clamps corners this far inside the image.
EPS_SHIFT = 1e-6


def pixel_centers(n: int, start: int = 0, stop: int | None = None, device: torch.device | None = None) -> Tensor:
    """Centres of the pixels `start` to `stop` (not included) of `n` along one axis.

    Returns:
        Tensor (stop - start,) float32 in [-1, 1], equal to the official `make_coord` to the bit.
    """
    index = torch.arange(start, n if stop is None else stop, device=device).float()
    radius = 1 / n
    return -1 + radius + (2 * radius) * index


def make_coord(size: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Centres of all pixels of an image, row by row.

    Args:
        size: (H, W) of the image.

    Returns:
        Tensor (H * W, 2) float32, (y, x) in [-1, 1].
    """
    y, x = (pixel_centers(n, device=device) for n in size)
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).reshape(-1, 2)


def make_cell(size: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Height and width of one pixel of an image of `size` (H, W): Tensor (2,) float32, (2 / H, 2 / W)."""
    return torch.tensor([2 / size[0], 2 / size[1]], device=device)


def nearest_index(coord: Tensor, n: int) -> Tensor:
    """Index of the feature whose centre is nearest, for coordinates along one axis of `n` features.

    Halves go to the even index and what lies outside to the border, as `grid_sample` with mode nearest and
    align_corners false does in the official code.

    Args:
        coord: any shape, float, along one axis.

    Returns:
        int64 Tensor of the same shape, in [0, n - 1].
    """
    # One rounding, at the end: grid_sample on the CPU uses a fused multiply-add, and ties would fall otherwise.
    wide = coord + 1 if coord.device.type == "mps" else (coord + 1).double()  # MPS has no float64
    position = (wide * (n / 2) - 0.5).to(coord.dtype)
    return position.round().clamp(0, n - 1).long()


def corner_index(coord: Tensor, n: int, side: int) -> tuple[Tensor, Tensor]:
    """The feature that one side of the local ensemble looks up along one axis, and how far it is.

    Args:
        coord: any shape, float in [-1, 1], along one axis of `n` features.
        side: -1 or +1 for the two neighbours (local ensemble), 0 for the nearest feature alone.

    Returns:
        index: int64, same shape, in [0, n - 1].
        rel: float, same shape: (coord - centre of that feature) * n, so one feature is 2 wide.

    Source: paper, section 3, equations 3 and 4.
    """
    corner = coord + (side / n + EPS_SHIFT) if side else coord
    index = nearest_index(corner.clamp(-1 + EPS_SHIFT, 1 - EPS_SHIFT), n)
    center = -1 + 1 / n + (2 / n) * index.to(coord.dtype)
    return index, (coord - center) * n


def corners_of_pixels(span: range, n_out: int, n: int, sides: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """`corner_index` of the pixels `span` of `n_out` along one axis, to the bit, without a device to wait for.

    Args:
        n: features along the axis.
        sides: of `corner_index`.

    Returns:
        index, rel: (sides, pixels) int64 and float32.
    """
    one = np.float32
    coord = one(-1 + 1 / n_out) + one(2 * (1 / n_out)) * np.asarray(span, one)
    corner = coord + np.array([side / n + EPS_SHIFT if side else 0 for side in sides], one)[:, None]
    inside = corner.clip(one(-1 + EPS_SHIFT), one(1 - EPS_SHIFT))
    position = ((inside + one(1)).astype(np.float64) * (n / 2) - 0.5).astype(one)
    index = position.round().clip(0, n - 1).astype(np.int64)
    center = one(-1 + 1 / n) + one(2 / n) * index.astype(one)
    return index, (coord - center) * one(n)
