"""The local implicit image function: an MLP that turns features and a coordinate into a colour."""
from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.coords import corner_index

# What the official code adds to a corner's area, so that the four never sum to nothing.
EPS_AREA = 1e-9


class Axis(NamedTuple):
    """What the corners see along one axis: `index` and `rel`, each (sides, ...), see `corner_index`."""

    index: Tensor
    rel: Tensor


class LocalImplicitDecoder(nn.Module):
    """LIIF's decoder, exact and fast: it equals the plain form to rounding, in outputs and gradients.

    The plain form feeds each corner's [unfolded features, relative coordinate, relative cell] to the MLP. The
    first layer is linear in these, so its feature part is a 3x3 convolution of the feature grid, done once for
    all queries, and so is its cell part where all queries share a cell; a query gathers the result and adds the
    coordinate's part. All else is the MLP itself.

    Args:
        in_channels: channels of the feature grid.
        hidden_dims: widths of the MLP's hidden layers.
        local_ensemble: average the answers of the four nearest features (paper, equation 4), else the nearest's.
        feat_unfold: a feature is joined by its 3x3 neighbours (equation 3).
        cell_decode: the MLP sees the size of the queried pixel (equation 5).

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
        self.in_channels = in_channels
        self.sides = (-1, 1) if local_ensemble else (0,)
        self.kernel_size = 3 if feat_unfold else 1
        self.cell_decode = cell_decode
        self.num_feat_in = in_channels * self.kernel_size**2
        dims = [self.num_feat_in + (4 if cell_decode else 2), *hidden_dims, 3]
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in zip(dims, dims[1:], strict=False))

    @property
    def coord_weight(self) -> Tensor:
        """The first layer's weights of the relative coordinate and cell, (D, 2 or 4)."""
        return self.layers[0].weight[:, self.num_feat_in :]

    def project(self, feat: Tensor, cell: Tensor | None = None) -> Tensor:
        """The features' part of the first layer, with its bias: (B, C, h, w) to (B, h, w, D).

        A relative cell (2,) that all queries share joins the bias.
        """
        bias = self.layers[0].bias
        if cell is not None and self.cell_decode:
            bias = bias + self.coord_weight[:, 2:] @ cell.to(bias.dtype)
        k = self.kernel_size
        # Official unfolding is channel-major, (c, ky, kx): a convolution's weight, flattened.
        weight = self.layers[0].weight[:, : self.num_feat_in].unflatten(1, (self.in_channels, k, k))
        weight = weight.contiguous(memory_format=torch.channels_last)
        feat = feat.contiguous(memory_format=torch.channels_last)
        return F.conv2d(feat, weight, bias, padding=k // 2).permute(0, 2, 3, 1)

    def axis(self, coord: Tensor, n: int) -> Axis:
        """Look up every side of the ensemble along one axis of `n` features; coord of any shape in [-1, 1]."""
        index, rel = zip(*(corner_index(coord, n, side) for side in self.sides), strict=True)
        return Axis(torch.stack(index), torch.stack(rel))

    @staticmethod
    def corner_weights(rel_y: Tensor, rel_x: Tensor) -> Tensor:
        """Each corner's weight: the area of the diagonally opposite one over the sum (paper, equation 4).

        Args:
            rel_y, rel_x: (sides, 1, ...) and (1, sides, ...), of shapes that broadcast.

        Returns:
            (sides, sides, ...), summing to 1 over both sides.
        """
        area = (rel_y * rel_x).abs() + EPS_AREA
        return area.flip(0, 1) / area.sum((0, 1))

    def mlp(self, x: Tensor) -> Tensor:
        """All that follows the first layer: (..., D) before its activation, which is overwritten, to (..., 3)."""
        for layer in list(self.layers)[1:]:
            x = layer(F.relu(x, inplace=True))
        return x

    def forward(self, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """Answer coordinates.

        Args:
            feat: (B, C, h, w) feature grid.
            coord: (B, Q, 2) float32, (y, x) in [-1, 1].
            cell: (B, Q, 2) or (B, 1, 2) float32, the size of a queried pixel, (2 / H, 2 / W).

        Returns:
            (B, Q, 3) in the MLP's range.
        """
        batch, _, h, w = feat.shape
        y, x = self.axis(coord[..., 0], h), self.axis(coord[..., 1], w)
        sides = len(self.sides)
        rel = torch.stack(torch.broadcast_tensors(y.rel[:, None], x.rel[None]), dim=-1)  # (sides, sides, B, Q, 2)
        if self.cell_decode:
            rel_cell = (cell * cell.new_tensor([h, w])).expand(sides, sides, *coord.shape)
            rel = torch.cat([rel, rel_cell], dim=-1)

        grid = self.project(feat).flatten(0, 2)
        first_row = torch.arange(batch, device=feat.device)[:, None] * h
        index = (first_row + y.index[:, None]) * w + x.index[None]
        hidden = torch.addmm(
            grid.index_select(0, index.flatten()), rel.flatten(0, 3).to(grid.dtype), self.coord_weight.T.to(grid.dtype)
        )
        answer = self.mlp(hidden).view(sides, sides, *coord.shape[:2], 3)
        return (answer * self.corner_weights(y.rel[:, None], x.rel[None])[..., None]).sum((0, 1))

    def axes(self, y: Tensor, x: Tensor, in_size: tuple[int, int], cell: Tensor) -> tuple[Axis, Axis]:
        """Look up the rows and columns of a picture; their cell is seen in `project`."""
        return self.axis(y, in_size[0]), self.axis(x, in_size[1])

    def reach(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """The unfolded neighbours."""
        return self.kernel_size // 2

    def decode_block(self, grid: Tensor, y: Axis, x: Axis) -> Tensor:
        """Answer a block of a picture's rows and columns.

        Args:
            grid: (h, w, D) from `project`, the cell joined.
            y, x: the corners of the rows (sides, R) and of the columns (sides, C), indices into `grid`.

        Returns:
            (R, C, 3) in the MLP's range.
        """
        sides, height, width = len(self.sides), y.index.shape[1], x.index.shape[1]
        weight_y, weight_x = self.coord_weight[:, :2].T
        # Columns come last and rows first: what depends on the row is added where there are few columns.
        low, high = int(x.index.min()), int(x.index.max()) + 1
        grid, index_x = grid[:, low:high], x.index - low
        hidden = grid.new_empty(sides, sides, height, width, grid.shape[-1])
        for a in range(sides):
            rows = grid[y.index[a]] + (y.rel[a, :, None] * weight_y).to(grid.dtype)[:, None]
            for b in range(sides):
                torch.index_select(rows, 1, index_x[b], out=hidden[a, b])
        hidden += (x.rel[..., None] * weight_x).to(grid.dtype)[:, None]
        answer = self.mlp(hidden)
        weights = self.corner_weights(y.rel[:, None, :, None], x.rel[None, :, None, :])
        return (answer * weights[..., None]).sum((0, 1))
