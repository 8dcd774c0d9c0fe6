"""The decoder of ContinuousShuffleSR: all heavy work at low resolution, a bilinear form for each pixel."""
from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.decoders.base import Colours, Decoder, linear_layers
from liif_basicsr.rendering.bands import Bands, with_border
from liif_basicsr.rendering.fused_mlp import can_fuse, fused_linear
from liif_basicsr.rendering.tiles import Tile, View

# Features that pass the layers at low resolution together without gradients: they stay in a processor's cache.
PIXELS = 2048


class AxisBasis(nn.Module):
    """`num_basis` learned functions of (relative coordinate, relative cell) along one axis: a small MLP.

    Args:
        num_basis: R.
        hidden_dim: width of the two hidden layers.
    """

    def __init__(self, num_basis: int, hidden_dim: int) -> None:
        super().__init__()
        dims = [2, hidden_dim, hidden_dim, num_basis]
        self.layers = linear_layers(dims)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight)  # the default would make functions that are nearly constant
        nn.init.uniform_(self.layers[0].bias, -1, 1)

    def forward(self, above: Tensor, rel_cell: Tensor) -> Tensor:
        """The functions of the two features around a coordinate, times the share of each in the ensemble.

        Args:
            above: (...) in [0, 1], how far it lies above the centre of the lower feature, in features.
            rel_cell: broadcasts to it; size of a queried pixel, a feature being 2 wide.

        Returns:
            (..., 2, R) for the feature below and the one above.
        """
        share = torch.stack([1 - above, above], dim=-1)
        rel = 2 * torch.stack([above, above - 1], dim=-1)
        x = torch.stack(torch.broadcast_tensors(rel, rel_cell[..., None]), dim=-1)
        with torch.autocast(x.device.type, enabled=False):  # little work, whose rounding all pixels would share
            x = x.to(self.layers[0].weight.dtype)
            for layer in self.layers[:-1]:
                x = F.gelu(layer(x))
            return self.layers[-1](x) * share[..., None]


class ContinuousShuffleDecoder(Decoder):
    """The continuous form of PixelShuffle.

    At low resolution a 3x3 convolution and residual 1x1 layers give each feature R x R coefficients for each colour.
    Along each axis, R learned functions of the relative coordinate and cell stand for the rows and columns of a pixel
    shuffle. A feature's output is the bilinear form (functions along y) x coefficients x (functions along x), and the
    outputs of the four features around a coordinate are averaged as in LIIF (its equation 4), features beyond the
    border being those at it. The cell enters the functions alone, for a pixel's mean of a sum of products of functions
    is that sum with each function averaged; so an image needs its coefficients once, whatever is asked of it.

    A pixel needs about 50 multiply-adds in `decode`, beside zeros that cost less than leaving them out; and at a whole
    scale the whole is a convolution and a pixel shuffle. In OPE-SR (Song et al., CVPR 2023) the functions are fixed,
    orthogonal cosines and there is no cell; in CUF (Vasconcelos et al., CVPR 2023) a hyper-network gives each output
    position filters over neighbouring features, which are not separable.

    Args:
        in_channels: channels of the feature grid.
        num_feat: width of the layers at low resolution.
        num_layer: residual 1x1 layers.
        num_basis: R.
        basis_dim: width of the hidden layers that make the functions.
    """

    prepare_halo = 1
    floats_per_pixel = 32  # its part of the strip of contracted rows
    uses_threads = False

    def __init__(
        self, in_channels: int, num_feat: int = 256, num_layer: int = 3, num_basis: int = 8, basis_dim: int = 64
    ) -> None:
        super().__init__()
        self.num_basis = num_basis
        self.conv_first = nn.Conv2d(in_channels, num_feat, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(num_feat, num_feat, 1) for _ in range(num_layer))
        self.conv_last = nn.Conv2d(num_feat, num_basis * 3 * num_basis, 1)
        with torch.no_grad():
            self.conv_last.weight *= 0.1  # training begins near the bilinear input
        self.basis_y = AxisBasis(num_basis, basis_dim)
        self.basis_x = AxisBasis(num_basis, basis_dim)

    def prepare(self, feat: Tensor) -> Tensor:
        """The coefficients: (B, C, h, w) to (B, R * 3 * R, h, w), ordered (along y, colour, along x)."""
        x = self.conv_first(feat).permute(0, 2, 3, 1)
        layers, fast = [*self.body, self.conv_last], can_fuse(x)
        *body, last = [fused_linear(layer, x) if fast else partial(linear, layer) for layer in layers]
        flat, done = x.flatten(0, 2), []
        for part in flat.split(PIXELS) if fast else [flat]:
            for layer in body:
                part = part + layer(F.relu(part))
            done.append(last(F.relu(part)))
        return torch.cat(done).unflatten(0, x.shape[:3]).permute(0, 3, 1, 2)

    def query(self, prepared: Tensor, coord: Tensor, cell: Tensor, tile: Tile | None = None) -> Tensor:
        """Colours at coordinates, see `Decoder.query`."""
        batch, _, th, tw = prepared.shape
        (h, w), (top, left) = tile or ((th, tw), (0, 0))
        around, basis = [], []
        for axis, n, functions in ((0, h, self.basis_y), (1, w, self.basis_x)):
            position = (coord[..., axis] + 1) * (n / 2) - 0.5
            lower = position.floor()
            basis.append(functions(position - lower, cell[..., axis] * n).to(prepared.dtype))  # (B, Q, 2, R)
            around.append(torch.stack([lower, lower + 1], dim=-1).clamp(0, n - 1).long())  # (B, Q, 2)
        first = torch.arange(batch, device=coord.device)[:, None, None, None] * th
        index = (first + around[0][..., None] - top) * tw + around[1][..., None, :] - left
        picked = prepared.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, index.flatten())
        r = self.num_basis
        along_y = basis[0][:, :, :, None].expand(-1, -1, -1, 2, -1).reshape(-1, 1, r)
        strip = (along_y @ picked.view(-1, r, 3 * r)).view(-1, 3, r)
        along_x = basis[1][:, :, None].expand(-1, -1, 2, -1, -1).reshape(-1, r, 1)
        return (strip @ along_x).view(*coord.shape[:2], 4, 3).float().sum(2)

    def decode(self, prepared: Tensor, view: View) -> Colours:
        """Colours of whole rows and columns: rows are contracted first, for there are few, then columns."""
        r = self.num_basis
        # (rows, R, colour, columns, R), so that what two neighbours contribute lies side by side.
        grid = with_border(prepared[0].unflatten(0, (r, 3, r)).permute(3, 0, 1, 4, 2))
        bands = [view.along(k, grid.dtype, partial(self._bands, view, k, grid.dtype)) for k in (0, 1)]

        def colours(rows: slice, cols: slice) -> Tensor:
            strip = bands[0].contract(grid.flatten(2), rows)
            block = bands[1].contract_last(strip.view(-1, *grid.shape[3:]), cols)
            return block.unflatten(0, (-1, 3)).transpose(0, 1)

        return colours

    def _bands(self, view: View, axis: int, dtype: torch.dtype) -> Bands:
        """What outputs of a view are of the features along an axis."""
        lower, above = view.neighbours(axis)
        rel_cell = torch.full((), view.rel_cell()[axis], device=view.device)
        return Bands(lower + 1, (self.basis_y, self.basis_x)[axis](above, rel_cell).to(dtype))

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """None: an output depends on the four features around it."""
        return 0


def linear(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution as a product of matrices, several times as fast on a CPU: (..., C) to (..., D)."""
    return F.linear(x, layer.weight.flatten(1), layer.bias)
