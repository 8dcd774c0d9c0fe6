"""A decoder that resizes an image with Pillow's bicubic filter, for fixed-scale networks."""
from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from liif_basicsr.archs.base import Decoder
from liif_basicsr.devices import upload
from liif_basicsr.rendering.cubic import cubic
from liif_basicsr.rendering.queries import Axis, PixelAxis, PixelGrid, Queries


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
        (index_y, weight_y), (index_x, weight_x) = (
            self.taps(axis, *locate(axis.coord, axis.cell, axis.n * self.scale)) for axis in (queries.y, queries.x)
        )
        pixels, width = image.flatten(2), image.shape[3]
        total = image.new_zeros(len(image), self.num_out_ch, index_y.shape[1])
        for k in range(index_y.shape[-1]):  # one row of the filter at a time, to bound memory
            index = (index_y[..., k, None] * width + index_x).flatten(1)
            line = pixels.gather(2, index[:, None].expand(-1, self.num_out_ch, -1))
            line = line.view(*total.shape, weight_x.shape[-1])
            total = total + (line * weight_x[:, None]).sum(-1) * weight_y[:, None, :, k]
        return total.mT

    def decode(self, prepared: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Decode in blocks. Each block is filtered along y, then along x."""
        image = F.pixel_shuffle(prepared, self.scale)[0]
        index_y, weight_y, _ = pixels.y.cached(self.pixel_taps)
        index_x, weight_x, lowest = pixels.x.cached(self.pixel_taps)
        for i, j in pixels.blocks:
            left, right = int(lowest[j][0]), int(lowest[j][-1]) + weight_x.shape[-1]
            strip = _filter(image[:, :, left:right], index_y[i], weight_y[i], 1)
            yield _filter(strip, index_x[j] - left, weight_x[j], 2)

    def pixel_taps(self, axis: PixelAxis) -> tuple[Tensor, Tensor, np.ndarray]:
        """Return the `taps` of output rows (or columns), and the first pixel that each filter reads."""
        center = (axis.position() + 0.5) * self.scale - 0.5
        stretch = max(1.0, axis.n * self.scale / axis.n_out)
        lowest = np.maximum(np.ceil(center - 2 * stretch).astype(int) - axis.first * self.scale, 0)
        device = axis.coord.device
        on_device = upload(center.astype(np.float32) if device.type == "mps" else center, device)
        return *self.taps(axis, on_device, stretch), lowest

    def taps(self, axis: Axis, center: Tensor, stretch: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return Pillow's bicubic filters of output pixels along an axis of the image.

        Args:
            axis: the axis, in features.
            center: (...), center of the output pixel in pixels of the image; the center of the first pixel is 0.
            stretch: width of the filter relative to the unstretched one, at least 1; above 1 if the image shrinks.
                Broadcasts to `center`.

        Returns:
            index: (..., K) int64, the K pixels that each filter reads, counted from the tile's first pixel. Pixels
                outside the tile must have the weight 0. Their indices are clamped.
            weight: (..., K), their weights, which sum to 1.
        """
        first, largest = (center - 2 * stretch).ceil().long()[..., None], stretch
        if isinstance(stretch, Tensor):
            # Read one value back from the device: the largest stretch, which determines the size of the filters.
            stretch, largest = stretch[..., None], float(stretch.max())
        index = first + torch.arange(math.floor(4 * largest) + 1, device=center.device)
        weight = cubic((index - center[..., None]) / stretch) * ((index >= 0) & (index < axis.n * self.scale))
        index = (index - axis.first * self.scale).clamp(0, axis.count * self.scale - 1)
        return index, (weight / weight.sum(-1, keepdim=True)).float()

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """Return half the filter's width, in features."""
        stretch = max(1, *(n * self.scale / m for n, m in zip(in_size, size, strict=True)))
        return math.ceil(2 * stretch / self.scale)


def locate(coord: Tensor, cell: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the center and the stretch (see `ResampleDecoder.taps`) of output pixels along one axis.

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


def _filter(image: Tensor, index: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Filter an image (D, H, W) along an axis, 1 or 2, with filters from `ResampleDecoder.taps`."""
    shape = [1, 1, 1]
    shape[axis] = -1
    terms = (image.index_select(axis, index[:, k]) * weight[:, k].view(shape).to(image.dtype)
             for k in range(index.shape[1]))  # fmt: skip
    return reduce(torch.add, terms)
