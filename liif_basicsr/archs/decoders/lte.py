"""The local texture estimator: an MLP on cosines and sines whose frequencies the features give."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.decoders.base import Colours, Decoder, linear_layers
from liif_basicsr.archs.decoders.ensemble import (
    cell_in_features,
    limit_cell,
    linear_of_two,
    look_up,
    look_up_queries,
    mean_of_corners,
    pick,
)
from liif_basicsr.rendering.coordinates import make_cell
from liif_basicsr.rendering.fused_mlp import fused_mlp
from liif_basicsr.rendering.tiles import Tile, View


class LTEDecoder(Decoder):
    """LTE's decoder (Lee and Jin, CVPR 2022), equal to the plain form to rounding, in outputs and gradients.

    Two 3x3 convolutions estimate amplitudes and frequencies at each feature, once for all queries. What a query adds
    is its angles, their cosines and sines, and the MLP, which is not linear in any of these. The phase is of the cell
    alone, so an image has one; in an image, what depends on the row is added where there are as few columns as the
    input has.

    Args:
        in_channels: channels of the feature grid.
        hidden_dims: widths of the MLP's hidden layers.
        num_freq: frequencies of a feature, each with the amplitudes of a cosine and of a sine.
        max_scale: see `limit_cell`; for whole images.

    Source: the paper and its official code, whose parameters these are, in their layout.
    """

    prepare_halo = 1

    def __init__(
        self, in_channels: int, hidden_dims: Sequence[int], num_freq: int, max_scale: float | None = None
    ) -> None:
        super().__init__()
        self.num_freq = num_freq
        self.max_scale = max_scale
        self.coef = nn.Conv2d(in_channels, 2 * num_freq, 3, padding=1)
        self.freq = nn.Conv2d(in_channels, 2 * num_freq, 3, padding=1)
        self.phase = nn.Linear(2, num_freq, bias=False)
        dims = [2 * num_freq, *hidden_dims, 3]
        self.layers = linear_layers(dims)
        # Of four corners: amplitudes, cosines and sines, frequencies and angles, and hidden units.
        self.floats_per_pixel = 4 * (6 * num_freq + max(dims))

    def prepare(self, feat: Tensor) -> Tensor:
        """Amplitudes of cosines and sines, frequencies along y and along x, times pi: (B, C, h, w) to (B, D, h, w).

        Those are num_freq each. Frequencies are in full precision also within autocast: an error of theirs is one of
        the angles, which may be large.
        """
        # In the official layout those along y and along x alternate.
        weight = self.freq.weight.unflatten(0, (self.num_freq, 2)).transpose(0, 1).flatten(0, 1) * math.pi
        bias = self.freq.bias.view(self.num_freq, 2).T.flatten() * math.pi
        weight, feat = (x.contiguous(memory_format=torch.channels_last) for x in (weight, feat))
        with torch.autocast(feat.device.type, enabled=False):
            freq = F.conv2d(feat.to(weight.dtype), weight, bias, padding=1)
        return torch.cat([self.coef(feat).to(freq.dtype), freq], dim=1)

    def image_cell(self, cell: Tensor, in_size: tuple[int, int]) -> Tensor:
        """The cell that a whole image is decoded with, see `limit_cell`."""
        return limit_cell(cell, in_size, self.max_scale)

    def phases(self, rel_cell: Tensor) -> Tensor:
        """Times pi, of cells relative to the features: (..., 2) to (..., num_freq)."""
        return linear_of_two(rel_cell, self.phase.weight * math.pi)

    def query(self, prepared: Tensor, coord: Tensor, cell: Tensor, tile: Tile | None = None) -> Tensor:
        """Colours at coordinates, see `Decoder.query`."""
        size = (prepared.shape[-2], prepared.shape[-1])
        index, rel_y, rel_x = look_up_queries(coord, size, tile=tile)
        picked = pick(prepared.permute(0, 2, 3, 1), index)
        amplitude, freq_y, freq_x = picked.split([2 * self.num_freq, self.num_freq, self.num_freq], dim=-1)
        angle = freq_y * rel_y[..., None] + freq_x * rel_x[..., None]
        angle = angle + self.phases(cell_in_features(cell, size, tile)).to(angle.dtype)
        hidden = self.layers[0](amplitude * torch.cat([angle.cos(), angle.sin()], dim=-1))
        for layer in list(self.layers)[1:]:
            hidden = layer(F.relu(hidden, inplace=True))
        return mean_of_corners(hidden, rel_y, rel_x)

    def decode(self, prepared: Tensor, view: View) -> Colours:
        """Colours of whole rows and columns: what depends on the row is added there, the MLP is fused."""
        n, (in_size, origin), (y, x) = self.num_freq, view.tile, view.coord()
        amplitude, freq_y, freq_x = (x.contiguous() for x in prepared[0].permute(1, 2, 0).split([2 * n, n, n], dim=-1))
        rows, cols = look_up(y, in_size[0], first=origin[0]), look_up(x, in_size[1], first=origin[1])
        cell = self.image_cell(make_cell(view.size, view.device), in_size)
        phase = self.phases(cell_in_features(cell, in_size))
        like = self.layers[0](amplitude[0, :1])  # within autocast of another precision than the features
        mlp = fused_mlp(list(self.layers), like, relu_first=False)

        def colours(i: slice, j: slice) -> Tensor:
            row, col = rows.part(i), cols.part(j)
            basis = like.new_empty(2, 2, row.index.shape[1], col.index.shape[1], 2 * n)
            for a, (index_y, rel_y) in enumerate(zip(*row, strict=True)):
                angle_y = (freq_y[index_y] * rel_y[:, None, None] + phase).to(freq_y.dtype)
                strips = amplitude[index_y], angle_y, freq_x[index_y]
                for b, (index_x, rel_x) in enumerate(zip(*col, strict=True)):
                    size, angle, freq = (strip.index_select(1, index_x) for strip in strips)
                    angle.addcmul_(freq, rel_x[:, None].to(freq.dtype))
                    torch.mul(size[..., :n], angle.cos(), out=basis[a, b, ..., :n])
                    torch.mul(size[..., n:], angle.sin_(), out=basis[a, b, ..., n:])
            outputs = mlp(basis.flatten(0, 3)).view(*basis.shape[:-1], 3)
            return mean_of_corners(outputs, row.rel[:, None, :, None], col.rel[None, :, None]).movedim(-1, 0)

        return colours

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """None: an output depends on the four features around it."""
        return 0
