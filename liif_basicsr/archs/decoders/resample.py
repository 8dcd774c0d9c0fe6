"""A decoder that resizes an image which the features hold: for networks that enlarge by one scale."""
from __future__ import annotations

import math
from typing import NamedTuple

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

    At the scale of that image this is the image itself. The cell tells how large a queried pixel is, and so how wide
    the filter must be; outputs equal `F.interpolate(mode="bicubic", antialias=True)` of the image, to rounding.

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
        rows, cols = (
            taps(coord[..., axis], cell[..., axis], n * self.scale).within(first * self.scale, image.shape[2 + axis])
            for axis, (n, first) in enumerate(zip((h, w), origin, strict=True))
        )
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
        axes = [
            taps(coord, torch.full((), 2 / n_out, device=view.device), n_in * self.scale).within(
                first * self.scale, image.shape[1 + axis]
            )
            for axis, (coord, n_in, n_out, first) in enumerate(
                zip(view.coord(), view.tile.in_size, view.size, view.tile.origin, strict=True)
            )
        ]

        def colours(i: slice, j: slice) -> Tensor:
            rows, cols = (Taps(axis.index[part], axis.weight[part]) for axis, part in zip(axes, (i, j), strict=True))
            left, right = int(cols.index.min()), int(cols.index.max()) + 1
            strip = _weighted(image[:, :, left:right], rows, 1)
            return _weighted(strip, Taps(cols.index - left, cols.weight), 2)

        return colours

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """Half the filter's width, in features."""
        stretch = max(1, *(n * self.scale / m for n, m in zip(in_size, size, strict=True)))
        return math.ceil(2 * stretch / self.scale)


def taps(coord: Tensor, cell: Tensor, n: int) -> Taps:
    """The pixels of an axis of `n` that make an output pixel, with Keys' cubic filter (a = -1/2), which is Pillow's.

    Args:
        coord: centre of the output pixel, in [-1, 1]; what is within a thousandth of a pixel's place counts as there,
            so that rounding leaves an image of the same size as it is.
        cell: its width, broadcast to `coord`.

    Source: Keys, Cubic convolution interpolation (1981), stretched against aliasing.
    """
    size = whole(2 / cell.double())
    pixel = whole((coord.double() + 1) * (size / 2) - 0.5)
    center = (pixel + 0.5) * (n / size) - 0.5
    stretch = (n / size).clamp(min=1)
    first = (center - 2 * stretch).ceil().long()
    index = first[..., None] + torch.arange(math.floor(4 * float(stretch.max())) + 1, device=coord.device)
    weight = keys((index - center[..., None]) / stretch[..., None]) * ((index >= 0) & (index < n))
    weight = weight / weight.sum(-1, keepdim=True)
    return Taps(index.clamp(0, n - 1), weight.to(coord.dtype))


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
