"""Thera (Becker et al.: Aliasing-Free Arbitrary-Scale Super-Resolution with Neural Heat Fields, TMLR 2025)."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork, Decoder, UpscaleFactor, check_queries
from liif_basicsr.archs.ensemble import gather, linear_of_two
from liif_basicsr.archs.registry import build_encoder, register_arch
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.feature_mlps import Slots, from_slots, sort_by_feature
from liif_basicsr.rendering.fused_mlp import fused_linear
from liif_basicsr.rendering.queries import PixelGrid, Queries

# Initial values of the official code. The unit of length is an input pixel, so the largest frequency is 8 periods per
# pixel.
LARGEST_FREQUENCY = 16 * math.pi
DIFFUSIVITY = math.sqrt(math.log(4)) / (2 * math.pi**2)


@register_arch
class Thera(ContinuousNetwork):
    """A network that upscales an image by any factor without aliasing. It predicts a heat field for each input pixel.

    Differs from the official code: `mean` is optional, and output pixels need not be square. Images are rendered in
    less time and in bounded memory; see `TheraDecoder`.

    The paper has models of three sizes, each with the encoder EDSR or RDN:

    - Air: no tail, `num_freq: 32`;
    - Plus: `tail: {type: ConvNeXt}`, `num_freq: 512`;
    - Pro: `tail: {type: SwinIRTail}`, `num_freq: 512`.

    Args:
        encoder: the encoder's `type` and arguments; see `liif_basicsr.archs.encoders`.
        tail: `type` and arguments of a second encoder, which refines the features of `encoder`. ~ omits the tail.
        num_freq: number of components of a field. Each component has a frequency that all fields share.
        mean: mean color of the training images, a number for each channel. It is subtracted from the input and added to
            the output, as in the official code. ~ subtracts 0.5 from the input and does not change the output.
        input_skip: `nearest` adds the output to the nearest input pixel, as in the paper; `bilinear` adds it to the
            bilinearly upscaled input. ~ returns the output alone.
        scale: default upscaling factor, which `net(lq)` uses.
        num_in_ch: number of input channels.
        num_out_ch: number of output channels.

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
        scale: UpscaleFactor = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        if mean is not None and num_in_ch != num_out_ch:
            raise LIIFError(
                f"network_g: mean: needs equal numbers of channels, but num_in_ch is {num_in_ch} and num_out_ch is "
                f"{num_out_ch}; set mean: ~"
            )
        if mean is not None and len(mean) != num_in_ch:
            raise LIIFError(
                f"network_g: mean: expected one number for each of the {num_in_ch} channels, got {list(mean)}; "
                "correct it, or set mean: ~"
            )
        features = build_encoder(encoder, num_in_ch)
        refine = None if tail is None else build_encoder(tail, features.out_channels, "network_g: tail")
        # Without `input_skip`, `denormalize` adds 0.5.
        offset = [0.0] * num_out_ch if mean is None else [2 * m - (input_skip is None) for m in mean]
        decoder = TheraDecoder(features.out_channels, refine, num_freq, offset)
        super().__init__(features, decoder, input_skip, scale, num_in_ch, num_out_ch)
        shift = [0.0] * num_in_ch if mean is None else [0.5 - m for m in mean]
        self.register_buffer("shift", torch.tensor(shift)[:, None, None], persistent=False)

    def encode(self, lq: Tensor) -> Tensor:
        """See `ContinuousNetwork.encode`. With `mean`, the mean is subtracted from the input instead of 0.5."""
        return super().encode(lq + self.shift)

    def forward(
        self, lq: Tensor, coord: Tensor | None = None, cell: Tensor | None = None, gradient: bool = False
    ) -> Any:
        """Return the values at `coord`, or the image upscaled by `scale`; see `ContinuousNetwork.forward`.

        Args:
            lq, coord, cell: see `ContinuousNetwork.forward`.
            gradient: with `coord`, also return the field's gradient at time 0, which `TotalVariationLoss` needs.

        Returns:
            The values. With `gradient` also (B, Q, D, 2), the derivatives of the colors along y and x per input pixel,
            for infinitely small pixels. The derivatives do not include the input that `input_skip` adds.
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

    A linear layer, the hypernetwork, maps a feature to the phases and amplitudes of its field. At the offset x from the
    feature's center, the value of the field is the sum over components of

        amplitude * sin(frequency . x + phase) * exp(-kappa * (frequency_y^2 * t_y + frequency_x^2 * t_x))

    which solves the heat equation. The times t_y and t_x are the squared height and width of the queried pixel, in
    input pixels: the larger the pixel, the stronger the blur. The official code has only one time, so its pixels are
    square.

    In whole images, the angle sum formula separates each sinusoid into sines and cosines that depend only on the row or
    only on the column. A batched matrix product then sums the components for all pixels that use a feature.

    Args:
        in_channels: number of channels of the feature grid.
        tail: an encoder that refines the grid, or None.
        num_freq: see `Thera`.
        offset: (D,), numbers that are added to the output of the field.

    Source: Thera, section 3.
    """

    offset: Tensor

    floats_per_pixel = 40  # several copies of the output; `evaluate` bounds its own memory

    def __init__(
        self, in_channels: int, tail: Any = None, num_freq: int = 32, offset: Sequence[float] = (0.0, 0.0, 0.0)
    ) -> None:
        super().__init__()
        self.num_freq, self.num_out_ch = num_freq, len(offset)
        self.register_buffer("offset", torch.tensor(offset), persistent=False)
        self.tail = tail
        self.prepare_halo = 0 if tail is None else tail.receptive_radius
        self.hyper = nn.Linear(in_channels if tail is None else tail.out_channels, (1 + self.num_out_ch) * num_freq)
        # Outputs: the phases, then the amplitudes of each output channel. Initialized as in the official code.
        nn.init.normal_(self.hyper.weight, std=self.hyper.in_features**-0.5)
        nn.init.zeros_(self.hyper.bias)
        # Frequencies are uniformly distributed over a disk.
        radius, angle = LARGEST_FREQUENCY * torch.rand(num_freq).sqrt(), 2 * math.pi * torch.rand(num_freq)
        self.freq = nn.Parameter(torch.stack([radius * angle.cos(), radius * angle.sin()]))
        self.kappa = nn.Parameter(torch.tensor(DIFFUSIVITY))

    def prepare(self, feat: Tensor) -> Tensor:
        """Refine the features with the tail: (B, C, h, w) to (B, C', h, w)."""
        return feat if self.tail is None else self.tail(feat)

    def decay(self, rel_cell: Tensor) -> Tensor:
        """Return the factors, at most 1, that damp the components: relative cells (..., 2) to (..., num_freq)."""
        # Divide by 2, because a feature is 2 wide in relative units.
        return torch.exp(-self.kappa * linear_of_two((rel_cell / 2).square(), self.freq.T.square()))

    def query(self, prepared: Tensor, queries: Queries) -> Tensor:
        return self.value(*self.angles(prepared, queries), queries.rel_cell)

    def value(self, feat: Tensor, angle: Tensor, rel_cell: Tensor) -> Tensor:
        """Return the values (B, Q, D) of queries.

        Args:
            feat, angle: the output of `angles`.
            rel_cell: (B, Q, 2) or (B, 1, 2), cells relative to the features.
        """
        return self.mix(feat, angle.sin() * self.decay(rel_cell)) + self.offset

    def gradient(self, feat: Tensor, angle: Tensor) -> Tensor:
        """Return the derivatives (B, Q, D, 2) of the colors along y and x, per input pixel, at time 0.

        Args:
            feat, angle: the output of `angles`.
        """
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
        """Sum the components (B, Q, num_freq) of each query, weighted by the amplitudes: (B, Q, D).

        The amplitudes are linear in the feature, so the sum over components can be computed before the product with the
        feature. This saves memory: D * C numbers per query instead of D * num_freq.
        """
        n, d = self.num_freq, self.num_out_ch
        weight, bias = self.hyper.weight[n:].view(d, n, -1), self.hyper.bias[n:].view(d, n)
        components = components.to(weight.dtype)
        summed = (components @ weight.transpose(0, 1).flatten(1)).view(*components.shape[:-1], d, feat.shape[-1])
        return (summed * feat[:, :, None]).sum(-1) + components @ bias.T

    def decode(self, prepared: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Decode in blocks. In each block, a feature's field is evaluated once, for all pixels that use the feature."""
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
        """Evaluate the fields of all features that pixels of a block use, several fields at a time to bound memory.

        Args:
            grid: (th * tw, C), the features of a tile.
            y, x: output rows and columns grouped by feature, see `Slots`.
            width: number of features per row of the tile.
            decay: (num_freq,), the result of `decay`.

        Returns:
            (Ny, Nx, My, Mx, D), where Ny, My and Nx, Mx are the N and M of `y` and `x` in `Slots`.
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
                # The field along a row of pixels is the sum of `along` times the cosines and sines of `basis`.
                angle = y.rel[rows, :, None] / 2 * self.freq[0]
                sin_y, cos_y = decay * angle.sin(), decay * angle.cos()
                sin, cos = phase.sin()[:, :, None], phase.cos()[:, :, None]
                along = torch.cat([sin * cos_y + cos * sin_y, cos * cos_y - sin * sin_y], dim=-1)
                along = along[:, :, :, None] * torch.cat([amplitude, amplitude], dim=-1)[:, :, None]
                values = torch.bmm(along.flatten(1, 3), basis.mT)  # (kx, ky * My * D, Mx)
                out[rows, cols] = values.unflatten(1, (-1, my, d)).permute(1, 0, 2, 4, 3)
        return out
