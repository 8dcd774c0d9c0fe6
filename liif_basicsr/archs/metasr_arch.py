"""Meta-SR (Hu et al., CVPR 2019) as the LIIF paper re-implements it for comparison."""
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork, Decoder, UpscaleFactor, linear_layers
from liif_basicsr.archs.ensemble import gather
from liif_basicsr.archs.registry import build_encoder, register_arch
from liif_basicsr.rendering.queries import PixelGrid, Queries


@register_arch
class MetaSR(ContinuousNetwork):
    """An encoder and Meta-SR's upscale module: the arbitrary-scale baseline of the LIIF paper.

    Computes the same function as the re-implementation in the official LIIF code, but faster; see `MetaDecoder`.

    Args:
        encoder: the encoder's `type` and arguments; see `liif_basicsr.archs.encoders`.
        hidden_dim: width of the MLP's hidden layer.
        input_skip: `bilinear` adds the output to the bilinearly upscaled input; ~ returns the output alone.
        scale: default upscaling factor, which `net(lq)` uses.
        num_in_ch: number of input channels.
        num_out_ch: number of output channels.

    Raises:
        LIIFError: an argument is unknown or invalid.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        hidden_dim: int = 256,
        input_skip: Literal["bilinear"] | None = None,
        scale: UpscaleFactor = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        features = build_encoder(encoder, num_in_ch)
        decoder = MetaDecoder(features.out_channels, hidden_dim, num_out_ch)
        super().__init__(features, decoder, input_skip, scale, num_in_ch, num_out_ch)


class MetaDecoder(Decoder):
    """Meta-SR's upscale module. Outputs and gradients equal those of the paper's formula up to rounding.

    In the paper, an MLP with one hidden layer predicts a filter for each query from the query's offset in its feature.
    The filter has C * 9 * D weights and is applied to the 3x3 features around the query.

    The last layer of the MLP and the filter are both linear, so their order can be swapped. The feature grid is
    convolved with the weights of the last layer, once per image. The result has one number for each output channel and
    hidden unit. A query then sums these numbers, weighted by its hidden units.

    Args:
        in_channels: number of channels of the feature grid.
        hidden_dim, num_out_ch: see `MetaSR`.

    Source: Meta-SR, sections 3.2 and 3.3. The parameters have the layout of the official LIIF code.
    """

    prepare_halo = 1

    def __init__(self, in_channels: int, hidden_dim: int, num_out_ch: int = 3) -> None:
        super().__init__()
        self.in_channels, self.num_out_ch = in_channels, num_out_ch
        self.layers: nn.ModuleList = linear_layers([3, hidden_dim, in_channels * 9 * num_out_ch])
        self.floats_per_pixel = (num_out_ch + 1) * (hidden_dim + 1)  # gathered numbers and hidden units

    def prepare(self, feat: Tensor) -> Tensor:
        """Filter the features with the MLP's last layer: (B, C, h, w) to (B, D * (hidden_dim + 1), h, w).

        Each output channel has one number per hidden unit, then one for the layer's bias.
        """
        last = self.layers[1]
        # The official order of the outputs is (c, ky, kx, output channel).
        weight = torch.cat([last.weight, last.bias[:, None]], dim=1)
        weight = weight.view(self.in_channels, 3, 3, self.num_out_ch, -1)
        weight = weight.permute(3, 4, 0, 1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return F.conv2d(feat.contiguous(memory_format=torch.channels_last), weight, padding=1)

    def combine(self, picked: Tensor, hidden: Tensor) -> Tensor:
        """Sum the prepared numbers, weighted by the hidden units after a ReLU.

        Args:
            picked: (N, D * (hidden_dim + 1)), the prepared numbers of the queries' features.
            hidden: (N, hidden_dim), hidden units before the ReLU; overwritten.

        Returns:
            (N, D).
        """
        picked = picked.view(len(picked), self.num_out_ch, -1)
        hidden = F.relu(hidden, inplace=True).to(picked.dtype)[..., None]
        return torch.baddbmm(picked[..., -1:], picked[..., :-1], hidden)[..., 0]

    def query(self, prepared: Tensor, queries: Queries) -> Tensor:
        (index_y, offset_y), (index_x, offset_x) = queries.y.first_edge(), queries.x.first_edge()
        # As in the official code, the cell's height is also used as its width.
        rel_cell = (queries.y.rel_cell / 2).expand_as(offset_y)  # type: ignore[union-attr]
        inputs = torch.stack([offset_y, offset_x, rel_cell], dim=-1)
        hidden = self.layers[0](inputs.to(self.layers[0].weight.dtype))
        index = queries.flat_index(index_y, index_x)
        picked = gather(prepared.permute(0, 2, 3, 1), index).flatten(0, 1)
        return self.combine(picked, hidden.flatten(0, 1)).reshape(*index.shape, self.num_out_ch)

    def decode(self, prepared: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Decode in blocks. The hidden units are the sum of one term per row and one per column."""
        (index_y, offset_y), (index_x, offset_x) = pixels.y.first_edge(), pixels.x.first_edge()
        grid, width = prepared[0].permute(1, 2, 0).flatten(0, 1), prepared.shape[3]
        weight_y, weight_x, weight_cell = self.layers[0].weight.T
        term_y = offset_y[:, None] * weight_y + (self.layers[0].bias + weight_cell * (pixels.y.rel_cell / 2))
        term_x = offset_x[:, None] * weight_x
        for rows, cols in pixels.blocks:
            index = index_y[rows, None] * width + index_x[cols]
            hidden = term_y[rows, None] + term_x[cols]
            out = self.combine(grid.index_select(0, index.flatten()), hidden.flatten(0, 1))
            yield out.unflatten(0, index.shape).permute(2, 0, 1)

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """See `Decoder.halo`.

        If the output is smaller than the input, the edge of a pixel may lie beyond the four features around the pixel.
        """
        shrink = max(n_in / n_out for n_in, n_out in zip(in_size, size, strict=True))
        return max(0, math.ceil((shrink - 1) / 2))
