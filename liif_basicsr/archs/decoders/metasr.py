"""Meta-SR's upscale module (Hu et al., CVPR 2019): the weights of a filter are told by an MLP."""
from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.decoders.base import Axis
from liif_basicsr.rendering.coordinates import EPS_SHIFT, nearest_index, pixel_centers


class MetaDecoder(nn.Module):
    """Meta-SR's upscale module, exact and fast: it equals the plain form to rounding, in outputs and gradients.

    In the plain form an MLP with one hidden layer, told where in its feature a query lies, gives C * 9 * 3
    weights; these filter the 3x3 features around it. The MLP's last layer is linear and so is the filter, hence
    they change places: that layer's weights filter the feature grid once for all queries, to one number for each
    colour and hidden unit, and a query sums these numbers weighted by its hidden units.

    Args:
        in_channels: channels of the feature grid.
        hidden_dim: width of the MLP's hidden layer.

    Source: Meta-SR, section 3.2 and 3.3, in the form of the official LIIF code, whose parameters these are.
    """

    def __init__(self, in_channels: int, hidden_dim: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.layers = nn.ModuleList([nn.Linear(3, hidden_dim), nn.Linear(hidden_dim, in_channels * 9 * 3)])

    def project(self, feat: Tensor, rel_cell: Tensor | None = None) -> Tensor:
        """Filter the features by the MLP's last layer: (B, C, h, w) to (B, h, w, 3 * (hidden_dim + 1)).

        The bias is the last of hidden_dim + 1. A query's cell is seen by its hidden units, not here.
        """
        last = self.layers[1]
        # Official order of the outputs: (c, ky, kx, colour).
        weight = torch.cat([last.weight, last.bias[:, None]], dim=1).view(self.in_channels, 3, 3, 3, -1)
        weight = weight.permute(3, 4, 0, 1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        feat = feat.contiguous(memory_format=torch.channels_last)
        return F.conv2d(feat, weight, padding=1).permute(0, 2, 3, 1)

    @staticmethod
    def look_up(coord: Tensor, cell: Tensor, n: int) -> Axis:
        """The feature that holds a query's first edge along one axis of `n`, and how far in it lies, 1 being all."""
        edge = coord - cell / 2
        index = nearest_index((edge + EPS_SHIFT).clamp(-1 + EPS_SHIFT, 1 - EPS_SHIFT), n)
        corner = (pixel_centers(n, device=coord.device) - 1 / n)[index]  # rounded as in the official code
        return Axis(index, (edge - corner) * (n / 2))

    def combine(self, picked: Tensor, hidden: Tensor) -> Tensor:
        """Sum what was projected over the hidden units: (N, 3 * (D + 1)) and (N, D), overwritten, to (N, 3)."""
        picked = picked.view(len(picked), 3, -1)
        hidden = F.relu(hidden, inplace=True).to(picked.dtype)[..., None]
        return torch.baddbmm(picked[..., -1:], picked[..., :-1], hidden)[..., 0]

    def forward(self, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """Answer coordinates; see `ContinuousNetwork`."""
        batch, _, h, w = feat.shape
        y, x = self.look_up(coord[..., 0], cell[..., 0], h), self.look_up(coord[..., 1], cell[..., 1], w)
        # Official: the height of a cell stands for both sides.
        rel_cell = (cell[..., 0] * (h / 2)).expand_as(y.rel)
        hidden = self.layers[0](torch.stack([y.rel, x.rel, rel_cell], dim=-1))
        first_row = torch.arange(batch, device=feat.device)[:, None] * h
        index = (first_row + y.index) * w + x.index
        picked = self.project(feat).flatten(0, 2).index_select(0, index.flatten())
        return self.combine(picked, hidden.flatten(0, 1)).view(*coord.shape[:2], 3)

    def axes(self, y: Tensor, x: Tensor, in_size: tuple[int, int], cell: Tensor) -> tuple[Axis, Axis]:
        """Look up the rows and columns of a picture; their `rel` is what each adds to the hidden units, (., D)."""
        rows, cols = (self.look_up(c, size, n) for c, size, n in zip((y, x), cell, in_size, strict=True))
        first = self.layers[0]
        weight_y, weight_x, weight_cell = first.weight.T
        shared = first.bias + weight_cell * (cell[0] * (in_size[0] / 2))
        return rows._replace(rel=rows.rel[:, None] * weight_y + shared), cols._replace(rel=cols.rel[:, None] * weight_x)

    def on_grid(self, grid: Tensor) -> Callable[[Axis, Axis], Tensor]:
        """The answers of a picture's rows and columns as a function; see `ContinuousNetwork`."""

        def answer(rows: Axis, cols: Axis) -> Tensor:
            index = rows.index[:, None] * grid.shape[1] + cols.index
            picked = grid.flatten(0, 1).index_select(0, index.flatten())
            hidden = rows.rel[:, None] + cols.rel
            return self.combine(picked, hidden.flatten(0, 1)).view(*index.shape, 3)

        return answer

    @property
    def numbers_per_pixel(self) -> int:
        """Numbers that a pixel of `on_grid` takes: what is picked, and the hidden units."""
        return 4 * (self.layers[0].out_features + 1)

    @staticmethod
    def reach(in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """The filter's neighbours; and where a picture shrinks, an edge lies further away than they."""
        shrink = max(n_in / n_out for n_in, n_out in zip(in_size, size, strict=True))
        return 1 + max(0, math.ceil((shrink - 1) / 2))
