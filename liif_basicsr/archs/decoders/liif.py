"""The local implicit image function: an MLP that turns features and a coordinate into a colour."""
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.decoders.base import Axis
from liif_basicsr.rendering.coordinates import corner_index
from liif_basicsr.rendering.fused_mlp import fused_mlp

# What the official code adds to a corner's area, so that the four never sum to nothing.
EPS_AREA = 1e-9


class LIIFDecoder(nn.Module):
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
        """Look up the sides of the ensemble along one axis of `n` features: (...) in [-1, 1] to (..., sides) each."""
        index, rel = zip(*(corner_index(coord, n, side) for side in self.sides), strict=True)
        return Axis(torch.stack(index, dim=-1), torch.stack(rel, dim=-1))

    @staticmethod
    def mean_of_corners(answer: Tensor, rel_y: Tensor, rel_x: Tensor) -> Tensor:
        """The corners' mean, each weighted by the area of the diagonally opposite one (paper, equation 4).

        Args:
            answer: (sides, sides, ..., 3).
            rel_y, rel_x: (sides, 1, ...) and (1, sides, ...), of shapes that broadcast to answer's.

        Returns:
            (..., 3).
        """
        area = (rel_y * rel_x).abs() + EPS_AREA
        weight = area.flip(0, 1) / area.sum((0, 1))
        return (answer * weight[..., None]).sum((0, 1))

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
        sides = len(self.sides)
        (index_y, rel_y), (index_x, rel_x) = (
            (axis.index.movedim(-1, 0), axis.rel.movedim(-1, 0))
            for axis in (self.axis(coord[..., 0], h), self.axis(coord[..., 1], w))
        )
        rel_y, rel_x = rel_y[:, None], rel_x[None]  # (sides, 1, B, Q), (1, sides, B, Q)
        rel = torch.stack(torch.broadcast_tensors(rel_y, rel_x), dim=-1)
        if self.cell_decode:
            rel_cell = (cell * cell.new_tensor([h, w])).expand(sides, sides, *coord.shape)
            rel = torch.cat([rel, rel_cell], dim=-1)

        grid = self.project(feat).flatten(0, 2)
        first_row = torch.arange(batch, device=feat.device)[:, None] * h
        index = (first_row + index_y[:, None]) * w + index_x[None]
        hidden = torch.addmm(
            grid.index_select(0, index.flatten()), rel.flatten(0, 3).to(grid.dtype), self.coord_weight.T.to(grid.dtype)
        )
        for layer in list(self.layers)[1:]:
            hidden = layer(F.relu(hidden, inplace=True))
        return self.mean_of_corners(hidden.view(sides, sides, *coord.shape[:2], 3), rel_y, rel_x)

    def axes(self, y: Tensor, x: Tensor, in_size: tuple[int, int], cell: Tensor) -> tuple[Axis, Axis]:
        """Look up the rows and columns of a picture; their cell is seen in `project`."""
        return self.axis(y, in_size[0]), self.axis(x, in_size[1])

    @property
    def numbers_per_pixel(self) -> int:
        """Numbers that a pixel of `on_grid` takes: hidden units of its corners, and about 16 more for each."""
        return len(self.sides) ** 2 * (max(layer.out_features for layer in self.layers) + 16)

    def reach(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """The unfolded neighbours."""
        return self.kernel_size // 2

    def on_grid(self, grid: Tensor) -> Callable[[Axis, Axis], Tensor]:
        """The answers of a picture's rows and columns as a function, without gradients.

        Args:
            grid: (h, w, D) from `project`, the cell joined.

        Returns:
            A function of rows and columns, from `axes` with indices into `grid`, to (R, C, 3) in the MLP's range.
        """
        mlp = fused_mlp(list(self.layers)[1:], grid)
        weight_y, weight_x = self.coord_weight[:, :2].T

        def answer(rows: Axis, cols: Axis) -> Tensor:
            hidden = grid.new_empty(len(self.sides), len(self.sides), len(rows.index), len(cols.index), grid.shape[-1])
            for a, (index_y, rel_y) in enumerate(zip(rows.index.T, rows.rel.T, strict=True)):
                # What depends on the row is added first, where there are few columns.
                strip = grid[index_y] + (rel_y[:, None] * weight_y).to(grid.dtype)[:, None]
                for b, index_x in enumerate(cols.index.T):
                    torch.index_select(strip, 1, index_x, out=hidden[a, b])
            hidden += (cols.rel.T[..., None] * weight_x).to(grid.dtype)[:, None]
            colours = mlp(hidden.flatten(0, 3)).view(*hidden.shape[:-1], 3)
            return self.mean_of_corners(colours, rows.rel.T[:, None, :, None], cols.rel.T[None, :, None, :])

        return answer
