"""ContinuousShuffleSR: a continuous form of pixel shuffle that does almost all work at low resolution."""
from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork, Decoder, linear_layers
from liif_basicsr.archs.registry import build_encoder, register_arch
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.bands import Bands, with_border
from liif_basicsr.rendering.fused_mlp import can_fuse, fused_linear
from liif_basicsr.rendering.queries import PixelAxis, PixelGrid, Queries


@register_arch
class ContinuousShuffleSR(ContinuousNetwork):
    """The continuous form of a network that ends in a pixel shuffle, for speed; see `ContinuousShuffleDecoder`.

    Args:
        encoder: `type` and arguments of an encoder, see `liif_basicsr.archs.encoders`.
        num_feat: width of the layers at low resolution.
        num_layer: residual 1x1 layers at low resolution.
        num_basis: learned functions per axis.
        basis_dim: width of the hidden layers of these functions.
        input_skip: bilinear adds the output to the bilinearly upscaled input; ~ does not.
        scale: default upscaling factor, for `net(lq)`.
        num_in_ch: channels of the input.
        num_out_ch: channels of the output.

    Raises:
        LIIFError: an argument is unknown or invalid.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        num_feat: int = 256,
        num_layer: int = 3,
        num_basis: int = 8,
        basis_dim: int = 64,
        input_skip: Literal["bilinear"] | None = "bilinear",
        scale: float = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        features = build_encoder(encoder, num_in_ch)
        decoder = ContinuousShuffleDecoder(
            features.out_channels, num_feat, num_layer, num_basis, basis_dim, num_out_ch
        )
        super().__init__(features, decoder, input_skip, scale, num_in_ch, num_out_ch)


class AxisBasis(nn.Module):
    """`num_basis` learned functions of (relative coordinate, relative cell) along one axis: a small MLP.

    Args:
        num_basis: number of functions, R.
        hidden_dim: width of the two hidden layers.
    """

    def __init__(self, num_basis: int, hidden_dim: int) -> None:
        super().__init__()
        self.layers = linear_layers([2, hidden_dim, hidden_dim, num_basis])
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight)  # PyTorch's default would make nearly constant functions
        nn.init.uniform_(self.layers[0].bias, -1, 1)

    def forward(self, above: Tensor, rel_cell: Tensor) -> Tensor:
        """Return the functions of the two features around a position, weighted by their share in the ensemble.

        Args:
            above: (...) in [0, 1], offset above the center of the lower feature, in features.
            rel_cell: size of a queried pixel, a feature being 2 wide; broadcasts to `above`.

        Returns:
            (..., 2, R): the functions of the lower feature and of the upper one.
        """
        share = torch.stack([1 - above, above], dim=-1)
        rel = 2 * torch.stack([above, above - 1], dim=-1)
        x = torch.stack(torch.broadcast_tensors(rel, rel_cell[..., None]), dim=-1)
        with torch.autocast(x.device.type, enabled=False):  # cheap, and all pixels would share its rounding
            x = x.to(self.layers[0].weight.dtype)
            for layer in self.layers[:-1]:
                x = F.gelu(layer(x))
            return self.layers[-1](x) * share[..., None]


class ContinuousShuffleDecoder(Decoder):
    """The continuous form of pixel shuffle.

    At low resolution a 3x3 convolution and residual 1x1 layers produce R x R coefficients per feature and output
    channel. Along each axis R learned functions of the relative coordinate and cell take the place of the rows and
    columns of a pixel shuffle. A feature's output is the bilinear form (functions along y) x coefficients x (functions
    along x). The outputs of the four features around a position are averaged as in LIIF (equation 4), with border
    features repeated. The cell enters the functions only, because the mean of a product of separable functions over a
    pixel is the product of their means; an image therefore needs its coefficients once for all scales.

    A pixel takes about 50 multiply-adds in `decode`, apart from multiplications with zeros. At an integer scale the
    decoder is a convolution followed by a pixel shuffle. OPE-SR (Song et al., CVPR 2023) uses fixed orthogonal cosines
    and no cell; CUF (Vasconcelos et al., CVPR 2023) predicts non-separable filters for each output position.

    Args:
        in_channels: channels of the feature grid.
        num_feat, num_layer, num_basis, basis_dim, num_out_ch: see `ContinuousShuffleSR`.
    """

    prepare_halo = 1
    floats_per_pixel = 32  # a pixel's part of the strip of contracted rows
    uses_threads = False

    def __init__(
        self,
        in_channels: int,
        num_feat: int = 256,
        num_layer: int = 3,
        num_basis: int = 8,
        basis_dim: int = 64,
        num_out_ch: int = 3,
    ) -> None:
        super().__init__()
        self.num_basis, self.num_out_ch = num_basis, num_out_ch
        self.conv_first = nn.Conv2d(in_channels, num_feat, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(num_feat, num_feat, 1) for _ in range(num_layer))
        self.conv_last = nn.Conv2d(num_feat, num_basis * num_out_ch * num_basis, 1)
        with torch.no_grad():
            self.conv_last.weight *= 0.1  # training starts near the bilinear input
        self.basis_y = AxisBasis(num_basis, basis_dim)
        self.basis_x = AxisBasis(num_basis, basis_dim)

    def prepare(self, feat: Tensor) -> Tensor:
        """Compute the coefficients: (B, C, h, w) to (B, R * D * R, h, w), ordered (y, output channel, x)."""
        x = self.conv_first(feat).permute(0, 2, 3, 1)
        layers, fuse = [*self.body, self.conv_last], can_fuse(x)
        *body, last = [fused_linear(layer, x) if fuse else partial(conv1x1, layer) for layer in layers]
        flat, done = x.flatten(0, 2), []
        for part in flat.split(memory.BODY_FEATURES) if fuse else [flat]:
            for layer in body:
                part = part + layer(F.relu(part))
            done.append(last(F.relu(part)))
        return torch.cat(done).view(*x.shape[:3], -1).permute(0, 3, 1, 2)

    def query(self, prepared: Tensor, queries: Queries) -> Tensor:
        (rows, above_y), (cols, above_x) = queries.y.neighbors(), queries.x.neighbors()
        basis_y = self.basis_y(above_y, queries.y.rel_cell).to(prepared.dtype)  # (B, Q, 2, R)
        basis_x = self.basis_x(above_x, queries.x.rel_cell).to(prepared.dtype)
        index = queries.flat_index(rows.permute(2, 0, 1)[:, None], cols.permute(2, 0, 1)[None])  # (2, 2, B, Q)
        picked = prepared.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, index.permute(2, 3, 0, 1).flatten())
        r, d = self.num_basis, self.num_out_ch
        left = basis_y[:, :, :, None].expand(-1, -1, -1, 2, -1).reshape(-1, 1, r)
        strip = (left @ picked.view(-1, r, d * r)).view(-1, d, r)
        right = basis_x[:, :, None].expand(-1, -1, 2, -1, -1).reshape(-1, r, 1)
        outputs = (strip @ right).view(*queries.coord.shape[:2], 4, d)
        return outputs.to(torch.promote_types(outputs.dtype, torch.float32)).sum(2)

    def decode(self, prepared: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Decode in blocks: contract rows first, at the input's number of columns, then columns."""
        r, d = self.num_basis, self.num_out_ch
        # (rows, R, D, columns, R), so that the contributions of adjacent features are adjacent in memory.
        grid = with_border(prepared[0].unflatten(0, (r, d, r)).permute(3, 0, 1, 4, 2))
        bands_y = pixels.y.cached(grid.dtype, partial(bands, pixels.y, self.basis_y, grid.dtype))
        bands_x = pixels.x.cached(grid.dtype, partial(bands, pixels.x, self.basis_x, grid.dtype))
        for rows, cols in pixels.blocks:
            strip = bands_y.contract(grid.flatten(2), rows)
            block = bands_x.contract_last(strip.view(-1, *grid.shape[3:]), cols)
            yield block.unflatten(0, (-1, d)).transpose(0, 1)


def bands(axis: PixelAxis, basis: AxisBasis, dtype: torch.dtype) -> Bands:
    """Return the weights of the features along one axis of output pixels."""
    lower, above = axis.lower_neighbor()
    rel_cell = torch.full((), axis.rel_cell, device=above.device)
    return Bands(lower + 1, basis(above, rel_cell).to(dtype))


def conv1x1(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 1x1 convolution as a matrix product, several times faster on a CPU: (..., C) to (..., D)."""
    return F.linear(x, layer.weight.flatten(1), layer.bias)
