"""LTE (Lee, Jin: Local Texture Estimator for Implicit Representation Function, CVPR 2022)."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork, Decoder, UpscaleFactor, linear_layers
from liif_basicsr.archs.ensemble import ensemble_mean, gather, linear_of_two
from liif_basicsr.archs.registry import build_encoder, register_arch
from liif_basicsr.rendering.fused_mlp import fused_mlp
from liif_basicsr.rendering.queries import PixelGrid, Queries


@register_arch
class LTE(ContinuousNetwork):
    """A network that upscales an image by any factor: an encoder and a local texture estimator.

    Differs from the official code: inputs and outputs are in [0, 1], and the network itself normalizes them to [-1, 1].
    Terms that do not depend on the query are computed at low resolution; see `LTEDecoder`.

    Args:
        encoder: the encoder's `type` and arguments; see `liif_basicsr.archs.encoders`.
        hidden_dims: widths of the MLP's hidden layers.
        num_freq: number of frequencies that are estimated for each feature, half of the official `hidden_dim`. Each
            frequency has two amplitudes: one of a cosine and one of a sine.
        max_scale: largest training scale. Beyond it, whole images are decoded with the cell of this scale, as in the
            official test and demo. ~ always uses the actual cell. Cells passed with coordinates are never changed.
        input_skip: `bilinear` adds the output to the bilinearly upscaled input, as in the paper; ~ returns the output
            alone.
        scale: default upscaling factor, which `net(lq)` uses.
        num_in_ch: number of input channels.
        num_out_ch: number of output channels.

    Raises:
        LIIFError: an argument is unknown or invalid.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        hidden_dims: Sequence[int] = (256, 256, 256),
        num_freq: int = 128,
        max_scale: Annotated[float, Field(ge=1)] | None = None,
        input_skip: Literal["bilinear"] | None = "bilinear",
        scale: UpscaleFactor = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        features = build_encoder(encoder, num_in_ch)
        decoder = LTEDecoder(features.out_channels, hidden_dims, num_freq, max_scale, num_out_ch)
        super().__init__(features, decoder, input_skip, scale, num_in_ch, num_out_ch)


class LTEDecoder(Decoder):
    """LTE's decoder. Outputs and gradients equal those of the paper's formula up to rounding.

    Two 3x3 convolutions estimate the amplitudes and frequencies at each feature; they run once per image. The rest is
    computed for each query: the angles, their cosines and sines, and the MLP. The phase depends only on the cell, so
    all pixels of an image share it. In whole images, the part of an angle that depends on the output row is computed
    once for all pixels of the row that use the same feature.

    Args:
        in_channels: number of channels of the feature grid.
        hidden_dims, num_freq, max_scale, num_out_ch: see `LTE`.

    Source: LTE, section 3. The parameters have the layout of the official code.
    """

    prepare_halo = 1

    def __init__(
        self,
        in_channels: int,
        hidden_dims: Sequence[int],
        num_freq: int,
        max_scale: float | None = None,
        num_out_ch: int = 3,
    ) -> None:
        super().__init__()
        self.num_freq = num_freq
        self.max_scale = max_scale
        self.coef = nn.Conv2d(in_channels, 2 * num_freq, 3, padding=1)
        self.freq = nn.Conv2d(in_channels, 2 * num_freq, 3, padding=1)
        self.phase = nn.Linear(2, num_freq, bias=False)
        dims = [2 * num_freq, *hidden_dims, num_out_ch]
        self.layers = linear_layers(dims)
        # For each of the four features: amplitudes, cosines and sines, frequencies and angles, and hidden units.
        self.floats_per_pixel = 4 * (6 * num_freq + max(dims))

    def prepare(self, feat: Tensor) -> Tensor:
        """Estimate the amplitudes and frequencies at each feature.

        The frequencies are computed in full precision even under autocast, because rounding a large frequency would
        change the angles noticeably.

        Returns:
            (B, 4 * num_freq, h, w): the amplitudes of cosines, the amplitudes of sines, and pi times the frequencies
            along y and along x.
        """
        # In the official layout, the frequencies along y and x alternate.
        weight = self.freq.weight.view(self.num_freq, 2, -1, 3, 3).transpose(0, 1).flatten(0, 1) * math.pi
        bias = self.freq.bias.view(self.num_freq, 2).T.flatten() * math.pi
        weight, feat = (x.contiguous(memory_format=torch.channels_last) for x in (weight, feat))
        with torch.autocast(feat.device.type, enabled=False):
            freq = F.conv2d(feat.to(weight.dtype), weight, bias, padding=1)
        return torch.cat([self.coef(feat).to(freq.dtype), freq], dim=1)

    def phases(self, rel_cell: Tensor) -> Tensor:
        """Return pi times the phases for relative cells: (..., 2) to (..., num_freq)."""
        return linear_of_two(rel_cell, self.phase.weight * math.pi)

    def query(self, prepared: Tensor, queries: Queries) -> Tensor:
        index, rel_y, rel_x = queries.corners()
        picked = gather(prepared.permute(0, 2, 3, 1), index)
        amplitude, freq_y, freq_x = picked.split([2 * self.num_freq, self.num_freq, self.num_freq], dim=-1)
        angle = freq_y * rel_y[..., None] + freq_x * rel_x[..., None]
        angle = angle + self.phases(queries.rel_cell).to(angle.dtype)
        basis = amplitude * torch.cat([angle.cos(), angle.sin()], dim=-1)
        hidden = self.layers[0](basis.to(self.layers[0].weight.dtype))
        for layer in list(self.layers)[1:]:
            hidden = layer(F.relu(hidden, inplace=True))
        return ensemble_mean(hidden, rel_y, rel_x)

    def decode(self, prepared: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Decode in blocks.

        The part of an angle that depends on the output row is added before the columns are gathered. Fused kernels run
        the MLP.
        """
        n = self.num_freq
        amplitude, freq_y, freq_x = (x.contiguous() for x in prepared[0].permute(1, 2, 0).split([2 * n, n, n], dim=-1))
        index_y, rel_y = pixels.y.corners()
        index_x, rel_x = pixels.x.corners()
        weight_y, weight_x = (self.phase.weight * math.pi).T
        phase = weight_y * pixels.y.rel_cell + weight_x * pixels.x.rel_cell
        like = self.layers[0](amplitude[0, :1])  # under autocast, the MLP's dtype may differ from the features'
        mlp = fused_mlp(list(self.layers), like, relu_first=False)
        for rows, cols in pixels.blocks:
            iy, ix = index_y[:, rows], index_x[:, cols]
            basis = like.new_empty(2, 2, iy.shape[1], ix.shape[1], 2 * n)
            for a, row in enumerate(iy):
                angle_y = (freq_y[row] * rel_y[a, rows, None, None] + phase).to(freq_y.dtype)
                strips = amplitude[row], angle_y, freq_x[row]
                for b, col in enumerate(ix):
                    size, angle, freq = (strip.index_select(1, col) for strip in strips)
                    angle.addcmul_(freq, rel_x[b, cols, None].to(freq.dtype))
                    torch.mul(size[..., :n], angle.cos(), out=basis[a, b, ..., :n])
                    torch.mul(size[..., n:], angle.sin_(), out=basis[a, b, ..., n:])
            outputs = mlp(basis.flatten(0, 3)).unflatten(0, basis.shape[:-1])
            yield ensemble_mean(outputs, rel_y[:, None, rows, None], rel_x[None, :, None, cols]).movedim(-1, 0)
