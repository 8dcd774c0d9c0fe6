"""The usual upsampler of one scale, EDSR's and RDN's, as a decoder."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.decoders.base import Axis
from liif_basicsr.rendering.coordinates import nearest_index

SCALES = (2, 3, 4, 8)


class PixelShuffleDecoder(nn.Module):
    """The upsampler of EDSR and RDN as a decoder: it makes the picture at its scale, and that is looked up.

    A coordinate gets the nearest pixel, as in the official code, where these networks are trained at their own pixels.
    Rows and columns of a picture get what Pillow's bicubic filter makes of the own picture, without rounding: the own
    picture itself at its scale, and antialiased where it shrinks.

    Args:
        in_channels: channels of the feature grid.
        scale: one of SCALES.

    Source: EDSR (Lim et al., CVPRW 2017), section 3.2, in the form of the official LIIF code, whose parameters these
    are (for RDN in configuration B, where all widths are the same).
    """

    def __init__(self, in_channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        for step in [3] if scale == 3 else [2] * (scale.bit_length() - 1):
            layers += [nn.Conv2d(in_channels, step**2 * in_channels, 3, padding=1), nn.PixelShuffle(step)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(in_channels, 3, 3, padding=1))

    def forward(self, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """Answer coordinates, see `ContinuousNetwork`; their cell does not matter."""
        own = self.layers(feat)
        y, x = (nearest_index(coord[..., axis], own.shape[2 + axis]) for axis in (0, 1))
        index = (y * own.shape[3] + x)[:, None].expand(-1, 3, -1)
        return own.flatten(2).gather(2, index).mT

    def project(self, feat: Tensor, rel_cell: Tensor | None = None) -> Tensor:
        """The own picture, by the feature that its pixels lie in: (B, C, h, w) to (B, h, w, 3 * scale * scale)."""
        return F.pixel_unshuffle(self.layers(feat), self.scale).permute(0, 2, 3, 1)

    def axis(self, coord: Tensor, n: int, cell: float) -> Axis:
        """Look up pixel centres (R,) of a picture along one axis of `n` features.

        Returns:
            `index` (R, K), the features that the filter sees, and `rel` (R, K, scale), the weights of their pixels.
        """
        size, own = round(2 / cell), n * self.scale
        pixel = ((coord.double() + 1) * (size / 2) - 0.5).round()  # whole again, so that weights at its scale are exact
        center = (pixel + 0.5) * (own / size) - 0.5
        stretch = max(1, own / size)
        first = ((center - 2 * stretch) / self.scale).floor().long()
        count = math.floor(4 * stretch / self.scale) + 2
        index = first[:, None] + torch.arange(count, device=coord.device)
        pixels = index[..., None] * self.scale + torch.arange(self.scale, device=coord.device)
        weight = keys((pixels - center[:, None, None]) / stretch) * ((index >= 0) & (index < n))[..., None]
        weight /= weight.sum((1, 2), keepdim=True)
        return Axis(index.clamp(0, n - 1), weight.float())

    def axes(self, y: Tensor, x: Tensor, in_size: tuple[int, int], cell: Tensor) -> tuple[Axis, Axis]:
        """Look up the rows and columns of a picture, see `axis`."""
        return self.axis(y, in_size[0], float(cell[0])), self.axis(x, in_size[1], float(cell[1]))

    def on_grid(self, grid: Tensor) -> Callable[[Axis, Axis], Tensor]:
        """The answers of a picture's rows and columns as a function; see `ContinuousNetwork`."""
        pixels = grid.unflatten(-1, (3, self.scale, self.scale))

        def answer(rows: Axis, cols: Axis) -> Tensor:
            strip: Any = 0
            for index, weight in zip(rows.index.T, rows.rel.movedim(1, 0), strict=True):
                strip = strip + (pixels[index] * weight[:, None, None, :, None]).sum(3)
            block: Any = 0
            for index, weight in zip(cols.index.T, cols.rel.movedim(1, 0), strict=True):
                block = block + (strip[:, index] * weight[:, None]).sum(3)
            return block

        return answer

    @property
    def numbers_per_pixel(self) -> int:
        """Numbers that a pixel of `on_grid` takes where the picture is as large as the input."""
        return 6 * self.scale**2

    def reach(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """The upsampler's convolutions, below 2 features in all, and the filter."""
        stretch = max(1, *(n * self.scale / m for n, m in zip(in_size, size, strict=True)))
        return 2 + math.ceil(2 * stretch / self.scale)


def keys(x: Tensor) -> Tensor:
    """Keys' cubic filter with a = -1/2, which is Pillow's, at distances `x` in pixels."""
    x = x.abs()
    near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0))
