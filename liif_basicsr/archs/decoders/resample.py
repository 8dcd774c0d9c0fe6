"""A decoder that resizes an image which the features hold: for networks that enlarge by one scale."""
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from liif_basicsr.archs.decoders.base import Colours, Decoder
from liif_basicsr.rendering.tiles import Tile, View


class Taps(NamedTuple):
    """What a filter takes along one axis: pixels `index` (..., K) int64, with `weight` (..., K) that sum to 1."""

    index: Tensor
    weight: Tensor

    def within(self, first: int, n: int) -> Taps:
        """In a part of `n` pixels that begins at `first`; what lies beyond it has no weight."""
        return Taps((self.index - first).clamp(0, n - 1), self.weight)


class ResampleDecoder(Decoder):
    """Resizes the image that the features hold with Pillow's bicubic filter, antialiased where it shrinks.

    At the scale of that image this is the image itself. The cell, the size of a queried pixel, decides how wide
    the filter must be.

    Args:
        scale: how much larger than the feature grid the image is; the features are its `pixel_unshuffle`.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        # Of an image that is kept or enlarged; one that shrinks takes more for a pixel, and has fewer.
        self.floats_per_pixel = 16 * scale

    def query(self, prepared: Tensor, coord: Tensor, cell: Tensor, tile: Tile | None = None) -> Tensor:
        """Colours at coordinates: (B, 3 * scale * scale, h, w) to (B, Q, 3), see `Decoder.query`."""
        image = F.pixel_shuffle(prepared, self.scale)
        (h, w), origin = tile or (prepared.shape[-2:], (0, 0))
        axes = []
        for axis, (n, first) in enumerate(zip((h, w), origin, strict=True)):
            center, stretch = place(coord[..., axis], cell[..., axis], n * self.scale)
            # The one value that is read back from a device: the filter is as large as the largest cell asks for.
            found = taps(center, stretch, n * self.scale, filter_size(float(stretch.max())))
            axes.append(found.within(first * self.scale, image.shape[2 + axis]))
        rows, cols = axes
        pixels, width = image.flatten(2), image.shape[3]
        total = image.new_zeros(len(image), 3, coord.shape[1])
        for k in range(rows.index.shape[-1]):  # a row of the filter at a time, for the memory's sake
            index = (rows.index[..., k, None] * width + cols.index).flatten(1)
            line = pixels.gather(2, index[:, None].expand(-1, 3, -1)).unflatten(2, cols.index.shape[1:])
            total = total + (line * cols.weight[:, None]).sum(-1) * rows.weight[:, None, :, k]
        return total.mT

    def decode(self, prepared: Tensor, view: View) -> Colours:
        """Colours of whole rows and columns, along one axis after the other; see `Decoder.decode`."""
        image = F.pixel_shuffle(prepared, self.scale)[0]
        lows, axes = [], []
        for axis, (n_in, n_out, first) in enumerate(zip(view.tile.in_size, view.size, view.tile.origin, strict=True)):
            n, begin = n_in * self.scale, first * self.scale
            center = (view.feature_position(axis) + 0.5) * self.scale - 0.5
            stretch = max(1.0, n / n_out)
            lows.append(np.maximum(np.ceil(center - 2 * stretch).astype(int) - begin, 0))
            on_device = torch.from_numpy(center).to(view.device, torch.float32 if view.device.type == "mps" else None)
            axes.append(taps(on_device, stretch, n, filter_size(stretch)).within(begin, image.shape[1 + axis]))
        reach = axes[1].index.shape[-1]

        def colours(i: slice, j: slice) -> Tensor:
            rows, cols = (Taps(axis.index[part], axis.weight[part]) for axis, part in zip(axes, (i, j), strict=True))
            left, right = int(lows[1][j][0]), int(lows[1][j][-1]) + reach
            strip = _weighted(image[:, :, left:right], rows, 1)
            return _weighted(strip, Taps(cols.index - left, cols.weight), 2)

        return colours

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """Half the filter's width, in features."""
        stretch = max(1, *(n * self.scale / m for n, m in zip(in_size, size, strict=True)))
        return math.ceil(2 * stretch / self.scale)


def filter_size(stretch: float) -> int:
    """How many pixels the filter takes."""
    return math.floor(4 * stretch) + 1


def taps(center: Tensor, stretch: Tensor | float, n: int, count: int) -> Taps:
    """The pixels of an axis of `n` that make an output pixel, with Keys' cubic filter (a = -1/2), which is Pillow's.

    Args:
        center: (...) of the output pixel, in pixels from the centre of the first.
        stretch: how many pixels one of the filter's units spans, at least 1; broadcasts to `center`.
        count: how many pixels are taken, `filter_size` of the largest stretch.

    Source: Keys, Cubic convolution interpolation (1981), stretched against aliasing.
    """
    first = (center - 2 * stretch).ceil().long()
    index = first[..., None] + torch.arange(count, device=center.device)
    distance = (index - center[..., None]) / (stretch[..., None] if isinstance(stretch, Tensor) else stretch)
    weight = keys(distance) * ((index >= 0) & (index < n))
    return Taps(index.clamp(0, n - 1), (weight / weight.sum(-1, keepdim=True)).float())


def place(coord: Tensor, cell: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Center and stretch, see `taps`, of output pixels at coordinates, each of its cell's width.

    What is within a thousandth of a pixel's place counts as there, so that rounding leaves an image of the same size as
    it is.
    """
    size = whole(2 / cell.double())
    pixel = whole((coord.double() + 1) * (size / 2) - 0.5)
    return (pixel + 0.5) * (n / size) - 0.5, (n / size).clamp(min=1)


def whole(x: Tensor) -> Tensor:
    """Numbers that are whole but for the rounding of single precision, made whole."""
    near = x.round()
    return torch.where((x - near).abs() < 1e-3 + 1e-6 * near.abs(), near, x)


def keys(x: Tensor) -> Tensor:
    """Keys' cubic filter with a = -1/2 at distances `x`."""
    x = x.abs()
    near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0))


def _weighted(image: Tensor, taps: Taps, axis: int) -> Tensor:
    """Filter (3, H, W) along an axis."""
    shape = [1, 1, 1]
    shape[axis] = -1
    terms = (image.index_select(axis, taps.index[:, k]) * taps.weight[:, k].view(shape).to(image.dtype)
             for k in range(taps.index.shape[1]))  # fmt: skip
    total = next(terms)
    for term in terms:
        total = total + term
    return total
