"""Whole pictures in tiles and blocks, memory bounded, whatever it is that answers a tile's rows and columns."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from liif_basicsr.rendering.coordinates import corner_index, pixel_centers
from liif_basicsr.utils.errors import LIIFError

# Input pixels along an edge of a tile: the largest number whose features still fit into about a gigabyte.
TILE = 512
# What the activations of the pixels that are decoded at a time may take: they stay in a processor's cache. A GPU is
# filled instead.
BLOCK_BYTES, GPU_BLOCK_BYTES = 6 << 20, 256 << 20


class Window(NamedTuple):
    """A part of an output picture, in its pixels."""

    top: int
    left: int
    height: int
    width: int


class Span(NamedTuple):
    """Along one axis: outputs `start` to `stop` need the inputs `first` to `last` (not included)."""

    start: int
    stop: int
    first: int
    last: int


def check_window(size: tuple[int, int], window: tuple[int, int, int, int] | None) -> Window:
    """The window, or the whole picture of `size` (H, W); LIIFError where either does not exist."""
    if len(size) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in size):
        raise LIIFError(f"size must be (H, W), two whole numbers of at least 1, not {size}")
    part = Window(0, 0, *size) if window is None else Window(*window)
    rows = 0 <= part.top < part.top + part.height <= size[0]
    cols = 0 <= part.left < part.left + part.width <= size[1]
    if not rows or not cols:
        raise LIIFError(f"window (top, left, height, width) {tuple(part)} does not lie in a picture of {size}")
    return part


def spans(n_out: int, n_in: int, start: int, length: int, tile: int, halo: int) -> Iterator[Span]:
    """Cut outputs `start` to `start + length` along one axis into tiles of about `tile` inputs.

    Args:
        n_out, n_in: pixels of the whole output and of the whole input along the axis.
        halo: inputs beyond those looked up that a tile needs.
    """
    count = min(length, max(1, math.ceil(length * n_in / n_out / tile)))
    for k in range(count):
        a, b = start + length * k // count, start + length * (k + 1) // count
        ends = torch.stack([pixel_centers(n_out, a, a + 1), pixel_centers(n_out, b - 1, b)])
        low, high = (int(corner_index(end, n_in, side)[0]) for end, side in zip(ends, (-1, 1), strict=True))
        yield Span(a, b, max(0, low - halo), min(n_in, high + 1 + halo))


def render(
    lq: Tensor,
    size: tuple[int, int],
    window: Window,
    open_tile: Callable[[Tensor, tuple[int, int], Tensor, Tensor], tuple[Callable[[slice, slice], Tensor], int]],
    halo: int,
) -> Tensor:
    """Enlarge one picture.

    The input is encoded in tiles that overlap by `halo`, so that no tile's border is seen; a tile's outputs are
    decoded in blocks. The result equals that of one tile and one block to rounding.

    Args:
        lq: (1, 3, h, w).
        size: (H, W) of the whole output.
        window: the part of it to return.
        open_tile: encodes a tile. It takes the tile (1, 3, th, tw), its (top, left) in the whole input, and the rows
            y (R,) and columns x (C,) that are wanted, as coordinates in the whole picture; it returns a function of
            a slice of the rows and a slice of the columns to their colours (3, r, c), and the bytes that a pixel
            takes in it.
        halo: how many pixels around those looked up the encoder sees.

    Returns:
        (1, 3, height, width) of decode's dtype.
    """
    h, w = lq.shape[-2:]
    out = torch.empty((1, 3, window.height, window.width), dtype=lq.dtype, device=lq.device)
    for rows in spans(size[0], h, window.top, window.height, TILE, halo):
        for cols in spans(size[1], w, window.left, window.width, TILE, halo):
            tile = lq[:, :, rows.first : rows.last, cols.first : cols.last]
            y = pixel_centers(size[0], rows.start, rows.stop, device=lq.device)
            x = pixel_centers(size[1], cols.start, cols.stop, device=lq.device)
            colours, pixel_bytes = open_tile(tile, (rows.first, cols.first), y, x)
            top, left = rows.start - window.top, cols.start - window.left
            target = out[0, :, top : top + len(y), left : left + len(x)]
            pixels = max(1, (BLOCK_BYTES if lq.device.type == "cpu" else GPU_BLOCK_BYTES) // pixel_bytes)
            width = min(len(x), pixels)
            height = pixels // width
            for i in range(0, len(y), height):
                for j in range(0, len(x), width):
                    block = slice(i, i + height), slice(j, j + width)
                    target[:, block[0], block[1]] = colours(*block)
    return out
