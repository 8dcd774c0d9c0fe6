"""Whole images in bounded memory: tiles of the input, and blocks of the output pixels that a tile gives."""
from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from operator import index as as_int
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.coordinates import pixel_centers

# What the activations of a block may take: they stay in a processor's cache. A GPU is filled instead.
CPU_BLOCK_BYTES, GPU_BLOCK_BYTES = 6 << 20, 256 << 20
# What an image keeps along its axes, some dozen kilobytes each.
MOST_KEPT = 256

Made = TypeVar("Made")


class Tiling(NamedTuple):
    """How an image is cut.

    tile: input pixels along an edge of a tile; 512 is the largest whose features fit into about a gigabyte.
    block_bytes: what the output pixels that are decoded at a time may take; None chooses by the device.
    """

    tile: int = 512
    block_bytes: int | None = None

    def pixels_per_block(self, device: torch.device, pixel_bytes: int) -> int:
        """Output pixels that are decoded at a time."""
        default = CPU_BLOCK_BYTES if device.type == "cpu" else GPU_BLOCK_BYTES
        return max(1, (self.block_bytes or default) // pixel_bytes)


class Window(NamedTuple):
    """A part of an output image, in its pixels."""

    top: int
    left: int
    height: int
    width: int


class Tile(NamedTuple):
    """Where a part of an input lies: the size (h, w) of the whole input, and its own (top, left) in it."""

    in_size: tuple[int, int]
    origin: tuple[int, int]

    def local(self, coord: Tensor, cell: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Coordinates and cells (..., 2) of the whole input as of the tile alone, whose size is (th, tw)."""
        y, x = (
            ((coord[..., axis] + 1) * (n_in / 2) - first) * (2 / n) - 1
            for axis, (n_in, first, n) in enumerate(zip(self.in_size, self.origin, size, strict=True))
        )
        height, width = (cell[..., axis] * (self.in_size[axis] / size[axis]) for axis in (0, 1))
        return torch.stack([y, x], dim=-1), torch.stack([height, width], dim=-1)


class View(NamedTuple):
    """A window of an output image, of size (H, W) as a whole, and the tile of the input that it is decoded from.

    kept: what `along` has made for other views of the same image; None where there are no others.
    """

    tile: Tile
    size: tuple[int, int]
    window: Window
    device: torch.device
    kept: OrderedDict[Any, Any] | None = None

    def along(self, axis: int, what: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, or has given for a view that is the same along an axis: that may not depend on the other.

        Args:
            axis: 0 or 1.
            what: tells it from all else that is made along this axis.
        """
        if self.kept is None:
            return make()
        key = (what, axis, self.tile.in_size[axis], self.tile.origin[axis], self.size[axis], self.spans[axis])
        if key not in self.kept:
            self.kept[key] = make()
            if len(self.kept) > MOST_KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return self.kept[key]

    @property
    def spans(self) -> tuple[range, range]:
        """The window's rows and columns, in output pixels."""
        top, left, height, width = self.window
        return range(top, top + height), range(left, left + width)

    def coord(self) -> tuple[Tensor, Tensor]:
        """Coordinates of the window's rows (R,) and columns (C,) in the whole image, in [-1, 1]."""
        y, x = (
            pixel_centers(n, span.start, span.stop, device=self.device)
            for n, span in zip(self.size, self.spans, strict=True)
        )
        return y, x

    def feature_position(self, axis: int) -> np.ndarray:
        """Where rows or columns lie, in features from the centre of the whole input's first: float64 (R,) or (C,)."""
        span = self.spans[axis]
        return (np.arange(span.start, span.stop) + 0.5) * self.tile.in_size[axis] / self.size[axis] - 0.5

    def neighbours(self, axis: int) -> tuple[np.ndarray, Tensor]:
        """The feature below each row or column, counted from the tile's first, and how far above it that is: [0, 1)."""
        position = self.feature_position(axis)
        lower = np.floor(position)
        above = torch.from_numpy(position - lower).float().to(self.device)
        return lower.astype(np.int64) - self.tile.origin[axis], above

    def rel_cell(self) -> tuple[float, float]:
        """Height and width of an output pixel relative to the features, of which each is 2 wide."""
        y, x = (2 * n_in / n_out for n_in, n_out in zip(self.tile.in_size, self.size, strict=True))
        return y, x


class Span(NamedTuple):
    """Along one axis: outputs `start` to `stop` need the inputs `first` to `last` (not included)."""

    start: int
    stop: int
    first: int
    last: int


def check_window(size: tuple[int, int], window: tuple[int, int, int, int] | None) -> Window:
    """The window, or the whole image of `size` (H, W); LIIFError where either does not exist."""
    height, width = check_size(size)
    if window is None:
        return Window(0, 0, height, width)
    try:
        part = Window(*map(as_int, window))
    except TypeError:
        raise LIIFError(f"window must be (top, left, height, width), four whole numbers, not {window}") from None
    rows = 0 <= part.top < part.top + part.height <= height
    cols = 0 <= part.left < part.left + part.width <= width
    if not rows or not cols:
        raise LIIFError(f"window (top, left, height, width) {tuple(part)} does not lie in an image of {tuple(size)}")
    return part


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) as Python's integers, NumPy's included; LIIFError for what is no size."""
    try:
        height, width = (as_int(n) for n in size)
        if min(height, width) >= 1 and not any(isinstance(n, bool) for n in size):
            return height, width
    except (TypeError, ValueError):
        pass
    raise LIIFError(f"size must be (H, W), two whole numbers of at least 1, not {size}")


def spans(n_out: int, n_in: int, start: int, length: int, tile: int, halo: int) -> Iterator[Span]:
    """Cut outputs `start` to `start + length` along one axis into tiles of about `tile` inputs.

    Args:
        n_out, n_in: pixels of the whole output and of the whole input along the axis.
        halo: inputs beyond the two around an output that a tile needs.
    """
    count = min(length, max(1, math.ceil(length * n_in / n_out / tile)))
    for k in range(count):
        a, b = start + length * k // count, start + length * (k + 1) // count
        # The input before the first output's centre, and the one after the last's. One more on either side, for
        # float32 may place a centre beyond an input's edge where it lies on it.
        low = ((2 * a + 1) * n_in - n_out) // (2 * n_out) - 1
        high = ((2 * b - 1) * n_in - n_out) // (2 * n_out) + 2
        yield Span(a, b, max(0, low - halo), min(n_in, high + 1 + halo))


def render(
    lq: Tensor,
    size: tuple[int, int],
    window: Window,
    decode_tile: Callable[[Tensor, View], tuple[Callable[[slice, slice], Tensor], int]],
    halo: int,
    tiling: Tiling,
    kept: OrderedDict[Any, Any] | None = None,
) -> Tensor:
    """Enlarge one image.

    The input is encoded in tiles that overlap by `halo`, so that the seams are exact; the output pixels of a tile are
    decoded in blocks. The result equals that of one tile and one block to rounding.

    Args:
        lq: (1, C, h, w), or anything that has its shape, dtype and device and is sliced like it.
        size: (H, W) of the whole output.
        window: the part of it to return.
        decode_tile: takes a tile (1, C, th, tw) and its view; returns a function of a slice of the view's rows and a
            slice of its columns to their colours (3, r, c), and the bytes that a pixel takes in it.
        halo: how many input pixels beyond the four around an output it depends on.
        kept: see `View`.

    Returns:
        (1, 3, height, width) of lq's dtype.
    """
    in_size = (lq.shape[-2], lq.shape[-1])
    out = torch.empty((1, 3, window.height, window.width), dtype=lq.dtype, device=lq.device)
    for rows in spans(size[0], in_size[0], window.top, window.height, tiling.tile, halo):
        for cols in spans(size[1], in_size[1], window.left, window.width, tiling.tile, halo):
            tile = lq[:, :, rows.first : rows.last, cols.first : cols.last]
            part = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
            view = View(Tile(in_size, (rows.first, cols.first)), size, part, lq.device, kept)
            colours, pixel_bytes = decode_tile(tile, view)
            top, left = part.top - window.top, part.left - window.left
            target = out[0, :, top : top + part.height, left : left + part.width]
            for block in blocks(part, tiling.pixels_per_block(lq.device, pixel_bytes)):
                target[:, block[0], block[1]] = colours(*block)
    return out


def blocks(part: Window, pixels: int) -> Iterator[tuple[slice, slice]]:
    """Cut a window into slices of rows and columns of at most `pixels` pixels, as wide as can be."""
    width = min(part.width, pixels)
    height = pixels // width
    for i in range(0, part.height, height):
        for j in range(0, part.width, width):
            yield slice(i, min(i + height, part.height)), slice(j, min(j + width, part.width))
