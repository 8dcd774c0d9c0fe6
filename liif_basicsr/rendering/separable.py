"""Separable interpolation by dense matrix products.

Adjacent outputs depend on the same few features, so they are computed together, as a band.
"""
from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.devices import upload
from liif_basicsr.rendering.queries import PixelAxis, PixelGrid

# Approximate number of columns in a band's dense matrix: the features that the band spans, times the channels of each.
CHANNELS = 64


class Bands:
    """Interpolation weights along one axis: each output is a weighted sum of two adjacent features of R channels each.

    Outputs are computed band by band. A band is a run of consecutive outputs, and its weights form a dense matrix over
    the few features that the band spans. Most of these weights are zero, but the dense product is still faster than
    gathering two features per output.

    Args:
        lower: (N,) ascending, index of the first of the two features of each output.
        weight: (N, 2, R), weights of the two features.
    """

    def __init__(self, lower: np.ndarray, weight: Tensor) -> None:
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
            The band's outputs, counted from the start of `part`; the channels on which they depend; and the weights,
            (outputs, channels).
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

    Up to rounding, the values equal those of `grid_sample` with border padding.
    """
    grid = with_border(image.movedim(0, 1)[:, None, :, :, None])
    rows, cols = (axis.cached(("bilinear", grid.dtype), partial(_bilinear_bands, axis, grid.dtype))
                  for axis in (pixels.y, pixels.x))  # fmt: skip
    for i, j in pixels.blocks:
        strip = rows.contract(grid.flatten(2), i)
        yield cols.contract_last(strip.view(-1, *grid.shape[3:]), j).unflatten(0, (-1, len(image))).transpose(0, 1)


def _bilinear_bands(axis: PixelAxis, dtype: torch.dtype) -> Bands:
    lower, above = axis.lower_neighbor()
    return Bands(lower + 1, torch.stack([1 - above, above], dim=1)[:, :, None].to(dtype))


def with_border(grid: Tensor) -> Tensor:
    """Return a contiguous copy of a grid (h, R, C, w, R) with its first and last row and column repeated once."""
    h, r, c, w, _ = grid.shape
    whole = grid.new_empty(h + 2, r, c, w + 2, r)
    whole[1:-1, :, :, 1:-1] = grid
    for axis, last in ((0, h + 1), (3, w + 1)):
        whole.select(axis, 0).copy_(whole.select(axis, 1))
        whole.select(axis, last).copy_(whole.select(axis, last - 1))
    return whole
