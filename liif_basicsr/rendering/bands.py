"""Interpolation along an axis, band by band: outputs side by side share the few features around them."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.rendering.tiles import View

# About how many channels of features a band spans.
CHANNELS = 64


class Bands:
    """Outputs along one axis, each a weighted sum over the two features around it and their R channels.

    A band's weights are a dense matrix, most of it zeros where it spans many features: a product for which nothing is
    gathered is faster than one without zeros.

    Args:
        lower: (N,) ascending; the feature below each output, counted from the first of what will be contracted.
        weight: (N, 2, R), of the feature below and the one above.
    """

    def __init__(self, lower: np.ndarray, weight: Tensor) -> None:
        n, _, r = weight.shape
        density = n / (lower[-1] - lower[0] + 1)  # outputs a feature
        self.length = max(1, int(density * CHANNELS / r))
        self.first = np.repeat(lower[:: self.length], self.length)[:n]  # of each output's band
        self.place = lower - self.first
        place = torch.from_numpy(self.place).to(weight.device)[:, None, None]
        self.dense = weight.new_zeros(n, int(self.place.max()) + 2, r)
        for side in (0, 1):
            self.dense.scatter_(1, (place + side).expand(-1, -1, r), weight[:, side : side + 1])

    def contract(self, grid: Tensor, part: slice) -> Tensor:
        """Rows: contiguous (h, R, K) to (n, K), for a part of the outputs."""
        rows = grid.flatten(0, 1)
        out = grid.new_empty(part.stop - part.start, grid.shape[2])
        for outputs, channels, weight in self._bands(part):
            torch.mm(weight, rows[channels], out=out[outputs])
        return out

    def contract_last(self, strip: Tensor, part: slice) -> Tensor:
        """Columns: contiguous (M, w, R) to (M, n), for a part of the outputs."""
        cols = strip.flatten(1)
        out = strip.new_empty(len(cols), part.stop - part.start)
        for outputs, channels, weight in self._bands(part):
            torch.mm(cols[:, channels], weight.mT, out=out[:, outputs])
        return out

    def _bands(self, part: slice) -> Iterator[tuple[slice, slice, Tensor]]:
        """The bands of a part: its outputs, the channels that they depend on, and the weights (outputs, channels)."""
        start, r = part.start, self.dense.shape[2]
        while start < part.stop:
            stop = min(start - start % self.length + self.length, part.stop)
            first, count = int(self.first[start]), int(self.place[stop - 1]) + 2
            outputs = slice(start - part.start, stop - part.start)
            yield outputs, slice(first * r, (first + count) * r), self.dense[start:stop, :count].flatten(1)
            start = stop


def bilinear(image: Tensor, view: View) -> Callable[[slice, slice], Tensor]:
    """An image (C, th, tw), of a view's tile, enlarged: a function of a slice of rows and one of columns to (C, r, c).

    As `grid_sample` with border padding, from which it differs by rounding alone.
    """
    grid = with_border(image.movedim(0, 1)[:, None, :, :, None])

    def bands(axis: int) -> Bands:
        lower, above = view.neighbours(axis)
        return Bands(lower + 1, torch.stack([1 - above, above], dim=1)[:, :, None].to(grid.dtype))

    rows, cols = (view.along(axis, ("bilinear", grid.dtype), partial(bands, axis)) for axis in (0, 1))

    def part(row: slice, col: slice) -> Tensor:
        strip = rows.contract(grid.flatten(2), row)
        return cols.contract_last(strip.view(-1, *grid.shape[3:]), col).unflatten(0, (-1, len(image))).transpose(0, 1)

    return part


def with_border(grid: Tensor) -> Tensor:
    """A grid (h, R, C, w, R) with its first and last rows and columns once more, contiguous; copied once."""
    h, r, c, w, _ = grid.shape
    whole = grid.new_empty(h + 2, r, c, w + 2, r)
    whole[1:-1, :, :, 1:-1] = grid
    for axis, last in ((0, h + 1), (3, w + 1)):
        whole.select(axis, 0).copy_(whole.select(axis, 1))
        whole.select(axis, last).copy_(whole.select(axis, last - 1))
    return whole
