"""Thera (Becker et al.: Aliasing-Free Arbitrary-Scale Super-Resolution with Neural Heat Fields, TMLR 2025)."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork, Decoder, check_queries
from liif_basicsr.archs.ensemble import gather, linear_of_two
from liif_basicsr.archs.registry import build_encoder, register_arch
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.feature_mlps import Slots, from_slots, sort_by_feature
from liif_basicsr.rendering.fused_mlp import fused_linear
from liif_basicsr.rendering.queries import PixelGrid, Queries

# Initial values of the official code. An input pixel spans 1, so frequencies reach 8 periods per input pixel.
LARGEST_FREQUENCY = 16 * math.pi
DIFFUSIVITY = math.sqrt(math.log(4)) / (2 * math.pi**2)


@register_arch
class Thera(ContinuousNetwork):
    """A network that upscales an image by any factor without aliasing: a heat field for each input pixel.

    Differs from the official code: `mean` is optional; pixels may have different heights and widths; images are
    rendered in less time and in bounded memory, see `TheraDecoder`.

    The paper's sizes, all with the encoder EDSR or RDN:

    - Air: no tail, `num_freq: 32`;
    - Plus: `tail: {type: ConvNeXt}`, `num_freq: 512`;
    - Pro: `tail: {type: SwinIRTail}`, `num_freq: 512`.

    Args:
        encoder: `type` and arguments of an encoder, see `liif_basicsr.archs.encoders`.
        tail: `type` and arguments of a second encoder, which refines the features of the first one; ~ for none.
        num_freq: components of a field, each with a frequency that all fields share.
        mean: mean color of the training images, for each channel. It is subtracted from the input and added to the
            output, as in the official code. ~ subtracts 0.5 and adds nothing.
        input_skip: nearest adds the output to the nearest input pixel, as in the paper; bilinear to the bilinearly
            upscaled input; ~ does not.
        scale: default upscaling factor, for `net(lq)`.
        num_in_ch: channels of the input.
        num_out_ch: channels of the output.

    Raises:
        LIIFError: an argument is unknown or invalid.
    """

    shift: Tensor
    decoder: TheraDecoder

    def __init__(
        self,
        encoder: dict[str, Any],
        tail: dict[str, Any] | None = None,
        num_freq: int = 32,
        mean: Sequence[float] | None = None,
        input_skip: Literal["bilinear", "nearest"] | None = "nearest",
        scale: float = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        if mean is not None and not len(mean) == num_in_ch == num_out_ch:
            raise LIIFError(
                f"network_g: mean: expected a number for each channel of input and output ({num_in_ch} and "
                f"{num_out_ch}), got {list(mean)}; set mean: ~"
            )
        features = build_encoder(encoder, num_in_ch)
        refine = None if tail is None else build_encoder(tail, features.out_channels, "network_g: tail")
        # `denormalize` adds 0.5 unless there is an input_skip.
        offset = [0.0] * num_out_ch if mean is None else [2 * m - (input_skip is None) for m in mean]
        decoder = TheraDecoder(features.out_channels, refine, num_freq, offset)
        super().__init__(features, decoder, input_skip, scale, num_in_ch, num_out_ch)
        shift = [0.0] * num_in_ch if mean is None else [0.5 - m for m in mean]
        self.register_buffer("shift", torch.tensor(shift)[:, None, None], persistent=False)

    def encode(self, lq: Tensor) -> Tensor:
        """See `ContinuousNetwork.encode`; with `mean` the input is centered at it instead of 0.5."""
        return super().encode(lq + self.shift)

    def forward(
        self, lq: Tensor, coord: Tensor | None = None, cell: Tensor | None = None, gradient: bool = False
    ) -> Any:
        """Return the values at coordinates, or the image upscaled by `scale`, see `ContinuousNetwork.forward`.

        Args:
            lq, coord, cell: see `ContinuousNetwork.forward`.
            gradient: also return the gradient at time 0, which `TotalVariationLoss` needs.

        Returns:
            The values. With `gradient` also (B, Q, D, 2), the derivatives of the colors along y and x per input pixel,
            for infinitely small pixels. They are those of the field alone, without `input_skip`.
        """
        if coord is None or not gradient:
            return super().forward(lq, coord, cell)
        self.check_image(lq)
        check_queries(lq, coord, cell)
        prepared = self.encode_and_prepare(lq)
        queries = Queries(coord, cell, (lq.shape[-2], lq.shape[-1]))
        feat, angle = self.decoder.angles(prepared, queries)
        output = self.denormalize(self.decoder.value(feat, angle, queries.rel_cell), lq, coord)
        return output.contiguous(), self.decoder.gradient(feat, angle) * 0.5


class TheraDecoder(Decoder):
    """Thera's decoder: a field of sinusoids for each feature, blurred to the size of the queried pixel.

    A linear layer, the hypernetwork, maps a feature to the phases and amplitudes of its field. The field's value at the
    offset x from the feature's center is the sum over components

        amplitude * sin(frequency . x + phase) * exp(-kappa * (frequency_y^2 * t_y + frequency_x^2 * t_x))

    which solves the heat equation. Time stands for the area that a pixel averages: t_y and t_x are the squares of its
    height and width, in input pixels. The official code has one time, so it takes square pixels only.

    In an image, the sinusoids are separated by the angle sum formula: sines and cosines are computed per feature, row
    and column. A batched matrix product then sums the components for all pixels that see a feature.

    Args:
        in_channels: channels of the feature grid.
        tail: an encoder that refines the grid, or None.
        num_freq: see `Thera`.
        offset: (D,), added to the output of the field.

    Source: Thera, section 3.
    """

    offset: Tensor

    floats_per_pixel = 40  # the output, several times; `evaluate` bounds its own memory

    def __init__(
        self, in_channels: int, tail: Any = None, num_freq: int = 32, offset: Sequence[float] = (0.0, 0.0, 0.0)
    ) -> None:
        super().__init__()
        self.num_freq, self.num_out_ch = num_freq, len(offset)
        self.register_buffer("offset", torch.tensor(offset), persistent=False)
        self.tail = tail
        self.prepare_halo = 0 if tail is None else tail.receptive_radius
        self.hyper = nn.Linear(in_channels if tail is None else tail.out_channels, (1 + self.num_out_ch) * num_freq)
        # Phases first, then the amplitudes of each output channel. The initialization is the official one.
        nn.init.normal_(self.hyper.weight, std=self.hyper.in_features**-0.5)
        nn.init.zeros_(self.hyper.bias)
        # Uniform over a disk.
        radius, angle = LARGEST_FREQUENCY * torch.rand(num_freq).sqrt(), 2 * math.pi * torch.rand(num_freq)
        self.freq = nn.Parameter(torch.stack([radius * angle.cos(), radius * angle.sin()]))
        self.kappa = nn.Parameter(torch.tensor(DIFFUSIVITY))

    def prepare(self, feat: Tensor) -> Tensor:
        """Refine the features with the tail: (B, C, h, w) to (B, C', h, w)."""
        return feat if self.tail is None else self.tail(feat)

    def decay(self, rel_cell: Tensor) -> Tensor:
        """Return the factors of the components for relative cells: (..., 2) to (..., num_freq)."""
        # A feature is 2 wide.
        return torch.exp(-self.kappa * linear_of_two((rel_cell / 2).square(), self.freq.T.square()))

    def query(self, prepared: Tensor, queries: Queries) -> Tensor:
        return self.value(*self.angles(prepared, queries), queries.rel_cell)

    def value(self, feat: Tensor, angle: Tensor, rel_cell: Tensor) -> Tensor:
        """Return the values of queries, see `angles`, with relative cells (B, Q, 2) or (B, 1, 2): (B, Q, D)."""
        return self.mix(feat, angle.sin() * self.decay(rel_cell)) + self.offset

    def gradient(self, feat: Tensor, angle: Tensor) -> Tensor:
        """Return the derivatives along y and x per input pixel for infinitely small pixels: (B, Q, D, 2)."""
        slope = angle.cos()
        return torch.stack([self.mix(feat, slope * freq) for freq in self.freq], dim=-1)

    def angles(self, prepared: Tensor, queries: Queries) -> tuple[Tensor, Tensor]:
        """Return the nearest features (B, Q, C) and the angles of their components (B, Q, num_freq)."""
        index, rel_y, rel_x = queries.corners((0,))
        feat = gather(prepared.permute(0, 2, 3, 1), index[0, 0])
        n = self.num_freq
        phase = nn.functional.linear(feat, self.hyper.weight[:n], self.hyper.bias[:n])
        offset = torch.stack([rel_y[0, 0], rel_x[0, 0]], dim=-1) / 2
        return feat, phase + linear_of_two(offset, self.freq.T)

    def mix(self, feat: Tensor, components: Tensor) -> Tensor:
        """Sum the components of each query, (B, Q, num_freq), weighted by the amplitudes: (B, Q, D).

        The amplitudes are linear in the features. Summing before the features enter saves memory: D * C numbers per
        query instead of D * num_freq.
        """
        n, d = self.num_freq, self.num_out_ch
        weight, bias = self.hyper.weight[n:].view(d, n, -1), self.hyper.bias[n:].view(d, n)
        components = components.to(weight.dtype)
        summed = (components @ weight.transpose(0, 1).flatten(1)).view(*components.shape[:-1], d, feat.shape[-1])
        return (summed * feat[:, :, None]).sum(-1) + components @ bias.T

    def decode(self, prepared: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Decode in blocks: each feature's field is evaluated once, for all pixels that see it."""
        grid, width, device = prepared[0].permute(1, 2, 0).flatten(0, 1), prepared.shape[-1], prepared.device
        decay = self.decay(pixels.rel_cell)
        index_y, rel_y = pixels.y.corners_in_numpy((0,))
        index_x, rel_x = pixels.x.corners_in_numpy((0,))
        for rows, cols in pixels.blocks:
            y = sort_by_feature(index_y[:, rows], rel_y[:, rows], device)
            x = sort_by_feature(index_x[:, cols], rel_x[:, cols], device)
            values = from_slots(self.evaluate(grid, y, x, width, decay), y, x)[0, 0] + self.offset
            yield values.movedim(-1, 0)

    def evaluate(self, grid: Tensor, y: Slots, x: Slots, width: int, decay: Tensor) -> Tensor:
        """Evaluate the fields of all features that are seen, in parts of bounded memory.

        Args:
            grid: (th * tw, C), the features of a tile.
            y, x: relative coordinates in the slots of rows and columns of features.
            width: features per row.
            decay: (num_freq,).

        Returns:
            (Ny, Nx, My, Mx, D).
        """
        (ny, my), (nx, mx), n, d = y.rel.shape, x.rel.shape, self.num_freq, self.num_out_ch
        hyper = fused_linear(self.hyper, grid)
        limit = memory.CPU_MLP_BYTES if grid.device.type == "cpu" else memory.GPU_MLP_BYTES
        floats = (d + 4) * n + 2 * n * (d + 2) * my + 2 * n * mx + d * my * mx
        features = max(1, limit // (4 * floats))
        step_x = min(nx, features)
        step_y = features // step_x
        out = grid.new_empty(ny, nx, my, mx, d, dtype=torch.promote_types(grid.dtype, decay.dtype))
        for right in range(0, nx, step_x):
            cols = slice(right, right + step_x)
            angle = x.rel[cols, :, None] / 2 * self.freq[1]
            basis = torch.cat([angle.cos(), angle.sin()], dim=-1)  # (kx, Mx, 2 * num_freq)
            for top in range(0, ny, step_y):
                rows = slice(top, top + step_y)
                index = x.feature[cols, None] + y.feature[rows] * width
                fields = hyper(grid[index.flatten()]).unflatten(0, index.shape)
                phase, amplitude = fields[..., :n].to(out.dtype), fields[..., n:].unflatten(-1, (d, n))
                # The field along a row of pixels: the sum of `along` times cosines and sines of the columns' angles.
                angle = y.rel[rows, :, None] / 2 * self.freq[0]
                sin_y, cos_y = decay * angle.sin(), decay * angle.cos()
                sin, cos = phase.sin()[:, :, None], phase.cos()[:, :, None]
                along = torch.cat([sin * cos_y + cos * sin_y, cos * cos_y - sin * sin_y], dim=-1)
                along = along[:, :, :, None] * torch.cat([amplitude, amplitude], dim=-1)[:, :, None]
                values = torch.bmm(along.flatten(1, 3), basis.mT)  # (kx, ky * My * D, Mx)
                out[rows, cols] = values.unflatten(1, (-1, my, d)).permute(1, 0, 2, 4, 3)
        return out
