"""Separable interpolation by dense matrix products.

Adjacent outputs depend on the same few features, so they are computed together, as a band.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.devices import upload
from liif_basicsr.rendering.queries import PixelAxis, PixelGrid

# Approximate number of columns in a band's dense matrix: the features that the band spans, times the channels of each.
CHANNELS = 64


class Bands:
    """Interpolation weights along one axis: each output is a weighted sum of the two features around it.

    A feature has R channels. Outputs are computed band by band. A band is a run of consecutive outputs, and its weights
    form a dense matrix over the few features that the band spans. Most of these weights are zero, but the dense product
    is still faster than gathering two features per output.

    Args:
        axis: rows or columns of output pixels. The grid to interpolate has a border, see `with_border`.
        weigh: function that returns the weights (N, 2, R) of the two features. Its arguments are the offsets (N,) of
            the outputs from the features before them, in [0, 1), and the size of an output pixel relative to the
            features.
        dtype: dtype of the weights.
    """

    def __init__(self, axis: PixelAxis, weigh: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
        # Computed in NumPy, because reading the indices back from a GPU would wait for the work that is queued there.
        position = axis.position()
        lower = np.floor(position)
        above = upload((position - lower).astype(np.float32), axis.coord.device)
        lower = lower.astype(np.int64) - axis.first + 1  # the border is one feature wide
        weight = weigh(above, torch.full((), axis.rel_cell, device=above.device)).to(dtype)
        n, _, r = weight.shape
        density = n / (lower[-1] - lower[0] + 1)  # outputs per feature
        self.length = max(1, int(density * CHANNELS / r))
        self.first = np.repeat(lower[:: self.length], self.length)[:n]  # first feature of each output's band
        self.offset = lower - self.first  # first feature of each output, counted from the first feature of its band
        offset = upload(self.offset, weight.device)[:, None, None]
        self.dense = weight.new_zeros(n, int(self.offset.max()) + 2, r)
        for side in (0, 1):
            self.dense.scatter_(1, (offset + side).expand(-1, -1, r), weight[:, side : side + 1])

    def contract(self, grid: Tensor, part: slice) -> Tensor:
        """Interpolate the rows of a contiguous grid (h, R, K), and return the n outputs in `part`, (n, K)."""
        rows = grid.flatten(0, 1)
        out = grid.new_empty(part.stop - part.start, grid.shape[2])
        for outputs, channels, weight in self._bands(part):
            torch.mm(weight, rows[channels], out=out[outputs])
        return out

    def contract_last(self, strip: Tensor, part: slice) -> Tensor:
        """Interpolate the columns of a contiguous strip (M, w, R), and return the n outputs in `part`, (M, n)."""
        cols = strip.flatten(1)
        out = strip.new_empty(len(cols), part.stop - part.start)
        for outputs, channels, weight in self._bands(part):
            torch.mm(cols[:, channels], weight.mT, out=out[:, outputs])
        return out

    def _bands(self, part: slice) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield the bands of the outputs in `part`.

        Yields:
            The band's outputs, counted from the start of `part`; the channels of all features on which they depend, as
            a slice of the axis of length h * R (or w * R); and the weights, (outputs, length of that slice).
        """
        start, r = part.start, self.dense.shape[2]
        while start < part.stop:
            stop = min(start - start % self.length + self.length, part.stop)
            first, count = int(self.first[start]), int(self.offset[stop - 1]) + 2
            outputs = slice(start - part.start, stop - part.start)
            yield outputs, slice(first * r, (first + count) * r), self.dense[start:stop, :count].flatten(1)
            start = stop


def bilinear(image: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
    """Upscale an image region (C, th, tw) bilinearly; yield (C, r, c) for each block of `pixels`.

    Up to rounding, the result equals `grid_sample` with border padding.
    """
    grid = with_border(image.movedim(0, 1)[:, None, :, :, None])
    rows, cols = (axis.cached(Bands, linear_weights, grid.dtype) for axis in (pixels.y, pixels.x))
    for i, j in pixels.blocks:
        strip = rows.contract(grid.flatten(2), i)
        yield cols.contract_last(strip.view(-1, *grid.shape[3:]), j).unflatten(0, (-1, len(image))).transpose(0, 1)


def linear_weights(above: Tensor, rel_cell: Tensor) -> Tensor:
    """Return the weights of linear interpolation, (N, 2, 1); see `Bands`."""
    return torch.stack([1 - above, above], dim=1)[:, :, None]


def with_border(grid: Tensor) -> Tensor:
    """Return a contiguous copy of a grid (h, R, C, w, R) with its first and last row and column repeated once."""
    h, r, c, w, _ = grid.shape
    whole = grid.new_empty(h + 2, r, c, w + 2, r)
    whole[1:-1, :, :, 1:-1] = grid
    for axis, last in ((0, h + 1), (3, w + 1)):
        whole.select(axis, 0).copy_(whole.select(axis, 1))
        whole.select(axis, last).copy_(whole.select(axis, last - 1))
    return whole
