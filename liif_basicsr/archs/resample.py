"""A decoder that resizes an image with Pillow's bicubic filter, for fixed-scale networks."""
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from liif_basicsr.archs.base import Decoder
from liif_basicsr.devices import upload
from liif_basicsr.rendering.cubic import cubic
from liif_basicsr.rendering.queries import PixelAxis, PixelGrid, Queries


class ResampleDecoder(Decoder):
    """Resizes the output of a fixed-scale network with Pillow's bicubic filter. Shrinking is antialiased.

    The features are the `pixel_unshuffle` of that output. At the network's scale, the decoder returns the network's
    output unchanged. The cell determines the width of the filter.

    Args:
        scale: upscaling factor of the fixed-scale network.
        num_out_ch: number of output channels.
    """

    def __init__(self, scale: int, num_out_ch: int = 3) -> None:
        super().__init__()
        self.scale, self.num_out_ch = scale, num_out_ch
        # Estimated for enlarging. Shrinking takes more memory per pixel, but there are fewer pixels.
        self.floats_per_pixel = 16 * scale

    def query(self, prepared: Tensor, queries: Queries) -> Tensor:
        image = F.pixel_shuffle(prepared, self.scale)
        axes = []
        for axis, length in ((queries.y, image.shape[2]), (queries.x, image.shape[3])):
            n = axis.n * self.scale
            center, stretch = locate(axis.coord, axis.cell, n)
            # Read one value back from the device: the largest cell, which determines the size of the filter.
            found = taps(center, stretch, n, filter_size(float(stretch.max())))
            axes.append(found.within(axis.first * self.scale, length))
        rows, cols = axes
        pixels, width = image.flatten(2), image.shape[3]
        total = image.new_zeros(len(image), self.num_out_ch, rows.index.shape[1])
        reach = cols.index.shape[-1]
        for k in range(rows.index.shape[-1]):  # one row of the filter at a time, to bound memory
            index = (rows.index[..., k, None] * width + cols.index).flatten(1)
            line = pixels.gather(2, index[:, None].expand(-1, self.num_out_ch, -1)).view(*total.shape, reach)
            total = total + (line * cols.weight[:, None]).sum(-1) * rows.weight[:, None, :, k]
        return total.mT

    def decode(self, prepared: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Decode in blocks. Each block is filtered along y, then along x."""
        image = F.pixel_shuffle(prepared, self.scale)[0]
        (_, y), (lowest, x) = (axis.cached(self._taps) for axis in (pixels.y, pixels.x))
        reach = x.index.shape[-1]
        for i, j in pixels.blocks:
            rows, cols = Taps(y.index[i], y.weight[i]), Taps(x.index[j], x.weight[j])
            left, right = int(lowest[j][0]), int(lowest[j][-1]) + reach
            strip = _filter(image[:, :, left:right], rows, 1)
            yield _filter(strip, Taps(cols.index - left, cols.weight), 2)

    def _taps(self, axis: PixelAxis) -> tuple[np.ndarray, Taps]:
        """Return the first pixel that the filter of each output row (or column) reads, and the filters.

        Pixels are counted from the first pixel of the tile.
        """
        n, begin, device = axis.n * self.scale, axis.first * self.scale, axis.coord.device
        center = (axis.position() + 0.5) * self.scale - 0.5
        stretch = max(1.0, n / axis.n_out)
        lowest = np.maximum(np.ceil(center - 2 * stretch).astype(int) - begin, 0)
        on_device = upload(center.astype(np.float32) if device.type == "mps" else center, device)
        found = taps(on_device, stretch, n, filter_size(stretch))
        return lowest, found.within(begin, axis.count * self.scale)

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """Return half the filter's width, in features."""
        stretch = max(1, *(n * self.scale / m for n, m in zip(in_size, size, strict=True)))
        return math.ceil(2 * stretch / self.scale)


class Taps(NamedTuple):
    """The filters of output pixels along one axis.

    index: (..., K) int64, the K pixels that each filter reads.
    weight: (..., K), their weights, which sum to 1.
    """

    index: Tensor
    weight: Tensor

    def within(self, first: int, n: int) -> Taps:
        """Return the same filters with indices that count from pixel `first`, the start of a tile of `n` pixels.

        Pixels outside the tile must have the weight 0. Their indices are clamped.
        """
        return Taps((self.index - first).clamp(0, n - 1), self.weight)


def filter_size(stretch: float) -> int:
    """Return the number of pixels that a filter with this stretch (see `taps`) reads."""
    return math.floor(4 * stretch) + 1


def taps(center: Tensor, stretch: Tensor | float, n: int, count: int) -> Taps:
    """Return Pillow's bicubic filter for output pixels along one axis.

    Args:
        center: (...), center of the output pixel in pixels of the image; the center of the first pixel is 0.
        stretch: width of the filter relative to the unstretched one, at least 1; above 1 if the image shrinks.
            Broadcasts to `center`.
        n: number of pixels of the image along the axis.
        count: number of pixels that each filter reads: `filter_size` of the largest stretch.
    """
    first = (center - 2 * stretch).ceil().long()
    index = first[..., None] + torch.arange(count, device=center.device)
    distance = (index - center[..., None]) / (stretch[..., None] if isinstance(stretch, Tensor) else stretch)
    weight = cubic(distance) * ((index >= 0) & (index < n))
    return Taps(index.clamp(0, n - 1), (weight / weight.sum(-1, keepdim=True)).float())


def locate(coord: Tensor, cell: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the center and the stretch (see `taps`) of output pixels along one axis.

    Positions closer than a thousandth of a pixel to a pixel center are moved to the center. Otherwise rounding would
    change an image that is not resized.

    Args:
        coord: (...), coordinates of the pixels. The image spans [-1, 1].
        cell: size of a pixel in the same unit; broadcasts to `coord`.
        n: number of pixels of the image along the axis.
    """
    size = snap_to_integer(2 / cell.double())
    pixel = snap_to_integer((coord.double() + 1) * (size / 2) - 0.5)
    return (pixel + 0.5) * (n / size) - 0.5, (n / size).clamp(min=1)


def snap_to_integer(x: Tensor) -> Tensor:
    """Round numbers that differ from an integer by no more than single-precision rounding."""
    near = x.round()
    return torch.where((x - near).abs() < 1e-3 + 1e-6 * near.abs(), near, x)


def _filter(image: Tensor, taps: Taps, axis: int) -> Tensor:
    """Filter an image (D, H, W) along an axis, 1 or 2."""
    shape = [1, 1, 1]
    shape[axis] = -1
    terms = (image.index_select(axis, taps.index[:, k]) * taps.weight[:, k].view(shape).to(image.dtype)
             for k in range(taps.index.shape[1]))  # fmt: skip
    total = next(terms)
    for term in terms:
        total = total + term
    return total
