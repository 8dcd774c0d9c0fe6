"""ContinuousShuffleSR: a continuous form of pixel shuffle that does almost all work at low resolution."""
from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork, Decoder, UpscaleFactor, linear_layers
from liif_basicsr.archs.ensemble import gather
from liif_basicsr.archs.registry import build_encoder, register_arch
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.fused_mlp import can_fuse, fused_linear
from liif_basicsr.rendering.queries import PixelGrid, Queries
from liif_basicsr.rendering.separable import Bands, with_border


@register_arch
class ContinuousShuffleSR(ContinuousNetwork):
    """A fast network for any upscaling factor: an encoder and a continuous form of pixel shuffle.

    See `ContinuousShuffleDecoder`.

    Args:
        encoder: the encoder's `type` and arguments; see `liif_basicsr.archs.encoders`.
        num_feat: width of the layers at low resolution.
        num_layer: number of residual 1x1 layers at low resolution.
        num_basis: number of learned functions per axis.
        basis_dim: width of the hidden layers in the MLPs that compute these functions.
        border: number of pixels by which the image is continued by reflection before it is encoded. This hides the
            effect of zero padding, which a deep encoder shows in flat regions along the image's border. ~ for none.
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
        num_feat: int = 256,
        num_layer: int = 3,
        num_basis: int = 8,
        basis_dim: int = 64,
        border: int | None = None,
        input_skip: Literal["bilinear"] | None = "bilinear",
        scale: UpscaleFactor = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        features = build_encoder(encoder, num_in_ch)
        decoder = ContinuousShuffleDecoder(
            features.out_channels, num_feat, num_layer, num_basis, basis_dim, num_out_ch
        )
        super().__init__(features, decoder, input_skip, scale, num_in_ch, num_out_ch)
        self.border = border or 0

    def encode_and_prepare(self, lq: Tensor) -> Tensor:
        """See `ContinuousNetwork.encode_and_prepare`. Images of at most `border` pixels are continued by less."""
        h, w = lq.shape[-2:]
        y, x = min(self.border, h - 1), min(self.border, w - 1)
        padded = F.pad(lq, (x, x, y, y), mode="reflect") if y or x else lq
        return super().encode_and_prepare(padded)[..., y : y + h, x : x + w]


class AxisBasis(nn.Module):
    """A small MLP whose outputs are R learned functions along one axis.

    Its inputs are the relative coordinate and the relative cell.

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
        """Return the functions' values for the two features around each position, times the bilinear weights.

        Args:
            above: (...) in [0, 1], offset of the position from the center of the feature before it, in features.
            rel_cell: size of a queried pixel relative to the features, where a feature is 2 wide; broadcasts to
                `above`.

        Returns:
            (..., 2, R): values for the feature before the position, then for the feature after it.
        """
        share = torch.stack([1 - above, above], dim=-1)
        rel = 2 * torch.stack([above, above - 1], dim=-1)
        x = torch.stack(torch.broadcast_tensors(rel, rel_cell[..., None]), dim=-1)
        # Half precision would save little time in this small MLP, but its rounding would affect all pixels.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.layers[0].weight.dtype)
            for layer in self.layers[:-1]:
                x = F.gelu(layer(x))
            return self.layers[-1](x) * share[..., None]


class ContinuousShuffleDecoder(Decoder):
    """A continuous form of pixel shuffle.

    At low resolution, a 3x3 convolution and residual 1x1 layers predict R x R coefficients for each feature and output
    channel. Pixel shuffle would assign these coefficients to a grid of R x R pixels. Here, R learned functions along
    each axis take the place of the grid's rows and columns. The functions depend on the relative coordinate and the
    relative cell. For each output channel, a feature predicts the value

        f^T C g,

    where f contains the values of the R functions along y, g those along x, and C is the matrix of coefficients.

    A pixel is the average of the predictions of the four features around it, weighted as in LIIF (equation 4). Features
    at the border are repeated.

    Only the functions depend on the cell. The mean of a product f(y) g(x) over a pixel is the mean of f times the mean
    of g, so the size of the pixel changes the functions but not the coefficients. An image's coefficients are therefore
    computed once for all scales.

    At an integer scale, the decoder equals a convolution followed by a pixel shuffle.

    Related work: OPE-SR (Song et al., CVPR 2023) uses fixed orthogonal cosines and no cell. CUF (Vasconcelos et al.,
    CVPR 2023) predicts non-separable filters for each output position.

    Args:
        in_channels: number of channels of the feature grid.
        num_feat, num_layer, num_basis, basis_dim, num_out_ch: see `ContinuousShuffleSR`.
    """

    prepare_halo = 1
    floats_per_pixel = 32  # a pixel's share of the intermediate result of `decode`
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
            self.conv_last.weight *= 0.1  # the initial output is close to the bilinearly upscaled input
        self.basis_y = AxisBasis(num_basis, basis_dim)
        self.basis_x = AxisBasis(num_basis, basis_dim)

    def prepare(self, feat: Tensor) -> Tensor:
        """Compute the coefficients: (B, C, h, w) to (B, R * D * R, h, w).

        Channels are in the order (function along y, output channel, function along x).
        """
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
        picked = gather(prepared.permute(0, 2, 3, 1), index.permute(2, 3, 0, 1))
        r, d = self.num_basis, self.num_out_ch
        left = basis_y[:, :, :, None].expand(-1, -1, -1, 2, -1).reshape(-1, 1, r)
        strip = (left @ picked.view(-1, r, d * r)).view(-1, d, r)
        right = basis_x[:, :, None].expand(-1, -1, 2, -1, -1).reshape(-1, r, 1)
        outputs = (strip @ right).view(*queries.coord.shape[:2], 4, d)
        return outputs.to(torch.promote_types(outputs.dtype, torch.float32)).sum(2)

    def decode(self, prepared: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Decode in blocks, one axis after the other.

        The sums over y come first, while there are only as many columns as in the input.
        """
        r, d = self.num_basis, self.num_out_ch
        # (rows, R, D, columns, R), so that the contributions of adjacent features are adjacent in memory.
        grid = with_border(prepared[0].unflatten(0, (r, d, r)).permute(3, 0, 1, 4, 2))
        bands_y = pixels.y.cached(Bands, self.basis_y, grid.dtype)
        bands_x = pixels.x.cached(Bands, self.basis_x, grid.dtype)
        for rows, cols in pixels.blocks:
            strip = bands_y.contract(grid.flatten(2), rows)
            block = bands_x.contract_last(strip.view(-1, *grid.shape[3:]), cols)
            yield block.unflatten(0, (-1, d)).transpose(0, 1)


def conv1x1(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 1x1 convolution as a matrix product: (..., C) to (..., D).

    On a CPU the matrix product is several times faster than the convolution.
    """
    return F.linear(x, layer.weight.flatten(1), layer.bias)
