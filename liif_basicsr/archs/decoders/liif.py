"""The local implicit image function: an MLP that turns features and a coordinate into a colour."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from liif_basicsr.archs.decoders.base import Colours, Decoder, linear_layers
from liif_basicsr.archs.decoders.ensemble import (
    SIDES,
    cell_in_features,
    look_up,
    look_up_queries,
    mean_of_corners,
    pick,
)
from liif_basicsr.archs.decoders.unfolding import unfolded_linear
from liif_basicsr.rendering.fused_mlp import fused_mlp
from liif_basicsr.rendering.tiles import Tile, View


class LIIFDecoder(Decoder):
    """LIIF's decoder, exact and fast: it equals the plain form to rounding, in outputs and gradients.

    The plain form feeds each corner's [unfolded features, relative coordinate, relative cell] to the MLP. The
    first layer is linear in these, so its feature part is a 3x3 convolution of the feature grid, done once for
    all queries; a query gathers the result and adds the parts of its coordinate and cell. All else is the MLP itself.

    Args:
        in_channels: channels of the feature grid.
        hidden_dims: widths of the MLP's hidden layers.
        local_ensemble: average the outputs of the four nearest features (paper, equation 4), else the nearest's.
        feat_unfold: a feature is joined by its 3x3 neighbours (equation 3).
        cell_decode: the MLP is given the size of the queried pixel (equation 5).

    Source: paper, section 3. The parameters are the official ones, in the official layout of the MLP's inputs.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_dims: list[int],
        local_ensemble: bool = True,
        feat_unfold: bool = True,
        cell_decode: bool = True,
    ) -> None:
        super().__init__()
        self.sides = SIDES if local_ensemble else (0,)
        self.prepare_halo = 1 if feat_unfold else 0
        self.cell_decode = cell_decode
        self.num_feat_in = in_channels * (2 * self.prepare_halo + 1) ** 2
        dims = [self.num_feat_in + (4 if cell_decode else 2), *hidden_dims, 3]
        self.layers = linear_layers(dims)
        # Hidden units of a pixel's corners, and about 16 more for each.
        self.floats_per_pixel = len(self.sides) ** 2 * (max(dims[1:]) + 16)

    @property
    def coord_weight(self) -> Tensor:
        """The first layer's weights of the relative coordinate and cell, (D, 2 or 4)."""
        return self.layers[0].weight[:, self.num_feat_in :]

    def prepare(self, feat: Tensor) -> Tensor:
        """The features' part of the first layer, with its bias: (B, C, h, w) to (B, D, h, w)."""
        first = self.layers[0]
        return unfolded_linear(feat, first.weight[:, : self.num_feat_in], first.bias, 2 * self.prepare_halo + 1)

    def query(self, prepared: Tensor, coord: Tensor, cell: Tensor, tile: Tile | None = None) -> Tensor:
        """Colours at coordinates, see `Decoder.query`."""
        size = (prepared.shape[-2], prepared.shape[-1])
        index, rel_y, rel_x = look_up_queries(coord, size, self.sides, tile)
        rel = torch.stack(torch.broadcast_tensors(rel_y, rel_x), dim=-1)
        if self.cell_decode:
            rel = torch.cat([rel, cell_in_features(cell, size, tile).expand(rel.shape)], dim=-1)
        picked = pick(prepared.permute(0, 2, 3, 1), index).flatten(0, 3)
        hidden = torch.addmm(picked, rel.flatten(0, 3).to(picked.dtype), self.coord_weight.T.to(picked.dtype))
        for layer in list(self.layers)[1:]:
            hidden = layer(F.relu(hidden, inplace=True))
        return mean_of_corners(hidden.view(*index.shape, 3), rel_y, rel_x)

    def decode(self, prepared: Tensor, view: View) -> Colours:
        """Colours of whole rows and columns: what depends on one axis alone is added there, the MLP is fused."""
        grid = prepared[0].permute(1, 2, 0)
        mlp = fused_mlp(list(self.layers)[1:], grid)
        (in_size, origin), (y, x) = view.tile, view.coord()
        index_y, rel_y = look_up(y, in_size[0], self.sides, origin[0])
        index_x, rel_x = look_up(x, in_size[1], self.sides, origin[1])
        weight_y, weight_x, *weight_cell = self.coord_weight.T
        # All pixels have the same cell, so that its part joins that of the rows.
        shared: Tensor | float = sum(weight * c for weight, c in zip(weight_cell, view.rel_cell(), strict=False))
        along_y = (rel_y[..., None] * weight_y + shared).to(grid.dtype)
        along_x = (rel_x[..., None] * weight_x).to(grid.dtype)

        def colours(rows: slice, cols: slice) -> Tensor:
            iy, ix = index_y[:, rows], index_x[:, cols]
            hidden = grid.new_empty(len(iy), len(ix), iy.shape[1], ix.shape[1], grid.shape[-1])
            for a, row in enumerate(iy):
                strip = grid[row] + along_y[a, rows, None]
                for b, col in enumerate(ix):
                    torch.index_select(strip, 1, col, out=hidden[a, b])
            hidden += along_x[:, None, cols]
            outputs = mlp(hidden.flatten(0, 3)).view(*hidden.shape[:-1], 3)
            return mean_of_corners(outputs, rel_y[:, None, rows, None], rel_x[None, :, None, cols]).permute(2, 0, 1)

        return colours

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """None: an output depends on the four features around it."""
        return 0
