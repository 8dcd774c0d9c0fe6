"""Meta-SR (Hu et al., CVPR 2019) as the LIIF paper compares with it: an MLP predicts the weights of a filter."""
from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.decoders.base import Colours, Decoder
from liif_basicsr.rendering.coordinates import EPS_SHIFT, nearest_index, pixel_centers
from liif_basicsr.rendering.tiles import Tile, View


class MetaDecoder(Decoder):
    """Meta-SR's upscale module, exact and fast: it equals the plain form to rounding, in outputs and gradients.

    In the plain form an MLP with one hidden layer, given where in its feature a query lies, predicts C * 9 * 3
    weights; these filter the 3x3 features around it. The MLP's last layer is linear and so is the filter, hence
    they change places: that layer's weights filter the feature grid once for all queries, to one number for each
    colour and hidden unit, and a query sums these numbers weighted by its hidden units.

    Args:
        in_channels: channels of the feature grid.
        hidden_dim: width of the MLP's hidden layer.

    Source: Meta-SR, section 3.2 and 3.3, in the form of the official LIIF code, whose parameters these are.
    """

    prepare_halo = 1

    def __init__(self, in_channels: int, hidden_dim: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.layers = nn.ModuleList([nn.Linear(3, hidden_dim), nn.Linear(hidden_dim, in_channels * 9 * 3)])
        self.floats_per_pixel = 4 * (hidden_dim + 1)  # what is gathered, and the hidden units

    def prepare(self, feat: Tensor) -> Tensor:
        """The features filtered by the MLP's last layer: (B, C, h, w) to (B, 3 * (hidden_dim + 1), h, w).

        The bias is the last of hidden_dim + 1.
        """
        last = self.layers[1]
        # Official order of the outputs: (c, ky, kx, colour).
        weight = torch.cat([last.weight, last.bias[:, None]], dim=1).view(self.in_channels, 3, 3, 3, -1)
        weight = weight.permute(3, 4, 0, 1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return F.conv2d(feat.contiguous(memory_format=torch.channels_last), weight, padding=1)

    @staticmethod
    def look_up(coord: Tensor, cell: Tensor | float, n: int) -> tuple[Tensor, Tensor]:
        """The feature that holds a query's first edge along one axis of `n`, and how far in it lies, 1 being all."""
        edge = coord - cell / 2
        index = nearest_index((edge + EPS_SHIFT).clamp(-1 + EPS_SHIFT, 1 - EPS_SHIFT), n)
        corner = (pixel_centers(n, device=coord.device) - 1 / n)[index]  # rounded as in the official code
        return index, (edge - corner) * (n / 2)

    @staticmethod
    def combine(picked: Tensor, hidden: Tensor) -> Tensor:
        """Sum what was prepared over the hidden units: (N, 3 * (D + 1)) and (N, D), overwritten, to (N, 3)."""
        picked = picked.view(len(picked), 3, -1)
        hidden = F.relu(hidden, inplace=True).to(picked.dtype)[..., None]
        return torch.baddbmm(picked[..., -1:], picked[..., :-1], hidden)[..., 0]

    def query(self, prepared: Tensor, coord: Tensor, cell: Tensor, tile: Tile | None = None) -> Tensor:
        """Colours at coordinates, see `Decoder.query`."""
        batch, _, th, tw = prepared.shape
        (h, w), (top, left) = tile or ((th, tw), (0, 0))
        (index_y, rel_y), (index_x, rel_x) = (
            self.look_up(coord[..., axis], cell[..., axis], n) for axis, n in ((0, h), (1, w))
        )
        # Official: the height of a cell stands for both sides.
        rel_cell = (cell[..., 0] * (h / 2)).expand_as(rel_y)
        hidden = self.layers[0](torch.stack([rel_y, rel_x, rel_cell], dim=-1).to(self.layers[0].weight.dtype))
        first_row = torch.arange(batch, device=coord.device)[:, None] * th
        index = (first_row + index_y - top) * tw + index_x - left
        picked = prepared.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, index.flatten())
        return self.combine(picked, hidden.flatten(0, 1)).view(*coord.shape[:2], 3)

    def decode(self, prepared: Tensor, view: View) -> Colours:
        """Colours of whole rows and columns: what each adds to the hidden units is computed along its axis."""
        (index_y, rel_y), (index_x, rel_x) = (
            self.look_up(coord, 2 / n_out, n_in)
            for coord, n_in, n_out in zip(view.coord(), view.tile.in_size, view.size, strict=True)
        )
        index_y, index_x = index_y - view.tile.origin[0], index_x - view.tile.origin[1]
        grid, width = prepared[0].permute(1, 2, 0).flatten(0, 1), prepared.shape[3]
        weight_y, weight_x, weight_cell = self.layers[0].weight.T
        shared = self.layers[0].bias + weight_cell * (view.rel_cell()[0] / 2)
        along_y, along_x = rel_y[:, None] * weight_y + shared, rel_x[:, None] * weight_x

        def colours(rows: slice, cols: slice) -> Tensor:
            index = index_y[rows, None] * width + index_x[cols]
            hidden = along_y[rows, None] + along_x[cols]
            out = self.combine(grid.index_select(0, index.flatten()), hidden.flatten(0, 1))
            return out.view(*index.shape, 3).permute(2, 0, 1)

        return colours

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """Where an image shrinks, an edge lies further away than the features around the pixel."""
        shrink = max(n_in / n_out for n_in, n_out in zip(in_size, size, strict=True))
        return max(0, math.ceil((shrink - 1) / 2))
