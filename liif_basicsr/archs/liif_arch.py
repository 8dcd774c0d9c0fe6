"""LIIF (Chen, Liu, Wang: Learning Continuous Image Representation with Local Implicit Image Function, CVPR 2021)."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from liif_basicsr.archs.base import ContinuousNetwork, Decoder, UpscaleFactor, linear_layers
from liif_basicsr.archs.ensemble import EPS_AREA, ensemble_mean, gather, unfolded_linear
from liif_basicsr.archs.registry import build_encoder, register_arch
from liif_basicsr.rendering.fused_mlp import fused_mlp
from liif_basicsr.rendering.queries import BOTH_SIDES, PixelGrid, Queries


@register_arch
class LIIF(ContinuousNetwork):
    """A network that upscales an image by any factor: an encoder and a local implicit image function.

    Differs from the official code: inputs and outputs are in [0, 1], and the network itself normalizes them to [-1, 1].
    The decoder computes the same function faster; see `LIIFDecoder`.

    Args:
        encoder: the encoder's `type` and arguments; see `liif_basicsr.archs.encoders`.
        hidden_dims: widths of the MLP's hidden layers.
        local_ensemble: average the predictions of the four features around a position (equation 4). Otherwise, use
            only the prediction of the nearest feature.
        feat_unfold: concatenate each feature with its 3x3 neighborhood (equation 3).
        cell_decode: also feed the size of the queried pixel to the MLP (equation 5).
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
        hidden_dims: Sequence[int] = (256, 256, 256, 256),
        local_ensemble: bool = True,
        feat_unfold: bool = True,
        cell_decode: bool = True,
        input_skip: Literal["bilinear"] | None = None,
        scale: UpscaleFactor = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        features = build_encoder(encoder, num_in_ch)
        decoder = LIIFDecoder(
            features.out_channels, hidden_dims, local_ensemble, feat_unfold, cell_decode, num_out_ch
        )
        super().__init__(features, decoder, input_skip, scale, num_in_ch, num_out_ch)


class LIIFDecoder(Decoder):
    """LIIF's decoder. Outputs and gradients equal those of the paper's formula up to rounding.

    In the paper, the MLP receives [unfolded features, relative coordinate, relative cell] of each of the four features
    around a query. The first layer of the MLP is linear, so it is a sum of three terms. The term of the features is a
    3x3 convolution of the feature grid, which is computed once per image. A query gathers the result, adds the terms of
    its coordinate and cell, and runs the remaining layers.

    Args:
        in_channels: number of channels of the feature grid.
        hidden_dims, local_ensemble, feat_unfold, cell_decode, num_out_ch: see `LIIF`.

    Source: LIIF, section 3. The parameters have the layout of the official code.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_dims: Sequence[int],
        local_ensemble: bool = True,
        feat_unfold: bool = True,
        cell_decode: bool = True,
        num_out_ch: int = 3,
    ) -> None:
        super().__init__()
        self.sides = BOTH_SIDES if local_ensemble else (0,)
        self.prepare_halo: int = 1 if feat_unfold else 0
        self.cell_decode = cell_decode
        self.num_feat_in = in_channels * (2 * self.prepare_halo + 1) ** 2
        dims = [self.num_feat_in + (4 if cell_decode else 2), *hidden_dims, num_out_ch]
        self.layers = linear_layers(dims)
        # For each feature of the ensemble: the hidden units, and about 16 more numbers.
        self.floats_per_pixel = len(self.sides) ** 2 * (max(dims[1:]) + 16)

    @property
    def coord_weight(self) -> Tensor:
        """The first layer's weights for the relative coordinate and cell, (hidden, 2 or 4)."""
        return self.layers[0].weight[:, self.num_feat_in :]

    def prepare(self, feat: Tensor) -> Tensor:
        """Compute the features' term of the first layer, with the bias: (B, C, h, w) to (B, hidden, h, w)."""
        first = self.layers[0]
        return unfolded_linear(feat, first.weight[:, : self.num_feat_in], first.bias, 2 * self.prepare_halo + 1)

    def query(self, prepared: Tensor, queries: Queries) -> Tensor:
        index, rel_y, rel_x = queries.corners(self.sides)
        rel = torch.stack(torch.broadcast_tensors(rel_y, rel_x), dim=-1)
        if self.cell_decode:
            rel = torch.cat([rel, queries.rel_cell.expand(rel.shape)], dim=-1)
        picked = gather(prepared.permute(0, 2, 3, 1), index).flatten(0, 3)
        hidden = torch.addmm(picked, rel.flatten(0, 3).to(picked.dtype), self.coord_weight.T.to(picked.dtype))
        for layer in list(self.layers)[1:]:
            hidden = layer(F.relu(hidden, inplace=True))
        return ensemble_mean(hidden.view(*index.shape, hidden.shape[-1]), rel_y, rel_x)

    def decode(self, prepared: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Decode in blocks.

        The coordinate's term of the first layer is the sum of one term per row and one per column. Fused kernels run
        the remaining layers.
        """
        grid = prepared[0].permute(1, 2, 0)
        if grid.device.type != "cpu":
            from liif_basicsr.rendering import gpu_kernels  # imports Triton, which takes 0.1 s

            if gpu_kernels.can_launch(grid):
                yield from self._decode_in_kernels(gpu_kernels, grid.contiguous(), pixels)
                return
        mlp = fused_mlp(list(self.layers)[1:], grid)
        (index_y, rel_y), (index_x, rel_x) = pixels.y.corners(self.sides), pixels.x.corners(self.sides)
        term_y, term_x = (term.to(grid.dtype) for term in self._terms(rel_y, rel_x, pixels))
        for rows, cols in pixels.blocks:
            iy, ix = index_y[:, rows], index_x[:, cols]
            hidden = grid.new_empty(len(iy), len(ix), iy.shape[1], ix.shape[1], grid.shape[-1])
            for a, row in enumerate(iy):
                strip = grid[row] + term_y[a, rows, None]
                for b, col in enumerate(ix):
                    torch.index_select(strip, 1, col, out=hidden[a, b])
            hidden += term_x[:, None, cols]
            outputs = mlp(hidden.flatten(0, 3)).unflatten(0, hidden.shape[:-1])
            yield ensemble_mean(outputs, rel_y[:, None, rows, None], rel_x[None, :, None, cols]).permute(2, 0, 1)

    def _decode_in_kernels(self, kernels: ModuleType, grid: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Decode with two GPU kernels: one adds the terms of the MLP's first layer, the other averages the outputs."""
        mlp = fused_mlp(list(self.layers)[1:], grid, relu_first=False)
        (index_y, rel_y), (index_x, rel_x) = pixels.y.corners(self.sides), pixels.x.corners(self.sides)
        term_y, term_x = self._terms(rel_y, rel_x, pixels)
        for rows, cols in pixels.blocks:
            hidden = kernels.gather_add_relu(
                grid, index_y[:, rows], index_x[:, cols], term_y[:, rows], term_x[:, cols]
            )
            yield kernels.ensemble_mean(mlp(hidden), rel_y[:, rows], rel_x[:, cols], EPS_AREA)

    def _terms(self, rel_y: Tensor, rel_x: Tensor, pixels: PixelGrid) -> tuple[Tensor, Tensor]:
        """Return the first layer's terms for the rows and for the columns of pixels.

        Returns:
            (S, R, hidden) and (S, C, hidden), where S is the number of sides, see `Queries.corners`.
        """
        weight_y, weight_x, *weight_cell = self.coord_weight.T
        # All pixels have the same cell, so its term can be added to the terms of the rows.
        cell_term: Any = sum(w * axis.rel_cell for w, axis in zip(weight_cell, (pixels.y, pixels.x), strict=False))
        return rel_y[..., None] * weight_y + cell_term, rel_x[..., None] * weight_x
