"""SRNO (Wei, Zhang: Super-Resolution Neural Operator, CVPR 2023)."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork, Decoder, UpscaleFactor
from liif_basicsr.archs.ensemble import ensemble_weights, gather
from liif_basicsr.archs.registry import build_encoder, register_arch
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.queries import Queries

# A linear layer whose parameters differ between the images of a batch: weight (B, D, C) and bias (B, D).
Linear = tuple[Tensor, Tensor]


@register_arch
class SRNO(ContinuousNetwork):
    """A network that upscales an image by any factor: an encoder and two layers of attention over the output's pixels.

    Every output pixel attends to all others, so its color depends on which pixels are computed with it:

    - A whole image, or a window of it, uses all pixels of the whole output, even if it is computed in tiles; see
      `SRNODecoder.context`. The first window of each output size therefore takes two additional passes over the whole
      output.
    - A call with coordinates, as in training, uses only these coordinates. So does `sample`.
    - A warp uses a regular grid with as many pixels as the output.

    Differs from the official code: inputs and outputs are in [0, 1], and the network itself normalizes them to [-1, 1].
    The attention is folded into the layer after it; see `GalerkinAttention`. Whole images are computed as in the
    official test and demo; the official validation during training computes bands of 500 rows, and pixels attend only
    to their band.

    Args:
        encoder: the encoder's `type` and arguments; see `liif_basicsr.archs.encoders`.
        width: number of channels of the attention layers.
        num_heads: number of attention heads, `blocks` in the official code. Must divide `width` and be at most half of
            it.
        hidden_dim: width of the hidden layer after the attention; 256 in the official code.
        max_scale: largest training scale. Beyond it, whole images are decoded with the cell of this scale, as in the
            official test and demo. ~ always uses the actual cell. Cells passed with coordinates are never changed.
        input_skip: `bilinear` adds the output to the bilinearly upscaled input, as in the official code; ~ returns the
            output alone.
        scale: default upscaling factor, which `net(lq)` uses.
        num_in_ch: number of input channels.
        num_out_ch: number of output channels.

    Raises:
        LIIFError: an argument is unknown or invalid.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        width: int = 256,
        num_heads: int = 16,
        hidden_dim: int = 256,
        max_scale: Annotated[float, Field(ge=1)] | None = None,
        input_skip: Literal["bilinear"] | None = "bilinear",
        scale: UpscaleFactor = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        if width % num_heads or width < 2 * num_heads:
            raise LIIFError(
                f"network_g: num_heads: expected a divisor of width ({width}), at most half of it, got {num_heads}"
            )
        features = build_encoder(encoder, num_in_ch)
        decoder = SRNODecoder(features.out_channels, width, num_heads, hidden_dim, max_scale, num_out_ch)
        super().__init__(features, decoder, input_skip, scale, num_in_ch, num_out_ch)


class HeadNorm(nn.Module):
    """Layer normalization of each head, with the unbiased standard deviation, as in the official code.

    Args:
        num_heads, head_dim: sizes of the input's last two dimensions.
    """

    def __init__(self, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_heads, head_dim))
        self.bias = nn.Parameter(torch.zeros(num_heads, head_dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        std = (x.square().sum(-1, keepdim=True) / (x.shape[-1] - 1)).sqrt()  # torch.std is slow on short dimensions
        return self.weight * (x / (std + 1e-5)) + self.bias


class GalerkinAttention(nn.Module):
    """Galerkin-type attention over all positions of an image, and the residual layers after it.

    There is no softmax: each query q is multiplied by the mean of k^T v over all positions, where k and v are
    normalized. For each head, this mean is a d x d matrix, which is accumulated block by block. Once it is known, the
    attention applies the same linear map to the vector of every position. `fold` merges this map with the linear layer
    after it. This is exact and saves a third of the work.

    Args:
        width: number of channels.
        num_heads: number of attention heads.

    Source: SRNO, section 3.3; Cao, Choose a Transformer: Fourier or Galerkin, NeurIPS 2021. The parameters have the
    layout of the official code.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, width // num_heads
        self.qkv = nn.Linear(width, 3 * width)  # outputs in the order (head, q/k/v, d)
        self.norm_k = HeadNorm(num_heads, self.head_dim)
        self.norm_v = HeadNorm(num_heads, self.head_dim)
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)

    def key_values(self, x: Tensor) -> Tensor:
        """Return the sum of k^T v over the positions. Autocast does not lower its precision.

        Args:
            x: (B, Q, width).

        Returns:
            (B, heads, d, d).
        """
        shape = (self.num_heads, 3, self.head_dim)
        weight = self.qkv.weight.view(*shape, -1)[:, 1:].flatten(0, 2)
        bias = self.qkv.bias.view(shape)[:, 1:].flatten()
        k, v = F.linear(x, weight, bias).view(*x.shape[:-1], self.num_heads, 2, self.head_dim).unbind(-2)
        exact = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            k, v = self.norm_k(k.to(exact)), self.norm_v(v.to(exact))
            return torch.einsum("bqhd,bqhe->bhde", k, v)

    def fold(self, mean: Tensor) -> Linear:
        """Merge the attention and its skip connection with the linear layer after them, `fc1`.

        Args:
            mean: (B, heads, d, d), mean of k^T v over the positions.
        """
        shape = (self.num_heads, 3, self.head_dim)
        q_weight, q_bias = self.qkv.weight.view(*shape, -1)[:, 0], self.qkv.bias.view(shape)[:, 0]
        mean = mean.to(q_weight.dtype)
        attended = torch.einsum("bhde,hdc->bhec", mean, q_weight).flatten(1, 2)
        constant = torch.einsum("bhde,hd->bhe", mean, q_bias).flatten(1)
        return self.fc1.weight @ attended + self.fc1.weight, F.linear(constant, self.fc1.weight, self.fc1.bias)

    def forward(self, x: Tensor, folded: Linear) -> Tensor:
        """Apply the attention and the layers after it to vectors (B, Q, width), with the result of `fold`."""
        weight, bias = folded
        return x + self.fc2(F.gelu(torch.baddbmm(bias[:, None], x, weight.mT)))


class SRNODecoder(Decoder):
    """SRNO's decoder. Outputs and gradients equal those of the paper's formula up to rounding.

    For each position, the four features around it, their relative coordinates and the relative cell are concatenated.
    The features are multiplied by the weights of LIIF's local ensemble. A linear layer, two attention layers and an MLP
    with one hidden layer follow.

    Args:
        in_channels: number of channels of the feature grid.
        width, num_heads, hidden_dim, max_scale, num_out_ch: see `SRNO`.

    Source: SRNO, section 3.
    """

    is_global = True

    def __init__(
        self,
        in_channels: int,
        width: int,
        num_heads: int,
        hidden_dim: int,
        max_scale: float | None = None,
        num_out_ch: int = 3,
    ) -> None:
        super().__init__()
        self.max_scale = max_scale
        self.lift = nn.Linear(4 * (2 + in_channels) + 2, width)
        self.attention = nn.ModuleList(GalerkinAttention(width, num_heads) for _ in range(2))
        self.project = nn.ModuleList([nn.Linear(width, hidden_dim), nn.Linear(hidden_dim, num_out_ch)])
        # Three copies of the four features, and about six vectors: x, k, v and hidden units.
        self.floats_per_pixel = 3 * 4 * in_channels + 6 * max(width, hidden_dim)

    def lifted(self, prepared: Tensor, queries: Queries) -> Tensor:
        """Return the vectors (B, Q, width) of the positions before the attention layers."""
        index, rel_y, rel_x = queries.corners()
        weight = ensemble_weights(rel_y, rel_x)[..., None].to(prepared.dtype)
        picked = gather(prepared.permute(0, 2, 3, 1), index).flatten(0, 1) * weight
        rel = torch.stack(torch.broadcast_tensors(rel_y, rel_x), dim=-1).flatten(0, 1)
        rel_cell = queries.rel_cell.expand(rel.shape[1:]).to(rel.dtype)
        inputs = torch.cat([*rel.to(picked.dtype), *picked, rel_cell.to(picked.dtype)], dim=-1)
        return self.lift(inputs.to(self.lift.weight.dtype))

    def context(self, blocks: Callable[[], Iterable[tuple[Tensor, Queries]]]) -> list[Linear]:
        """Return the folded attention of both layers. Each layer takes one pass over the whole output.

        A layer needs a sum over all positions of the whole output. The sum has a fixed size and is accumulated over
        blocks. Tiles are exact because they use this sum; with a sum of its own, a tile would attend only to itself.
        """
        folded: list[Linear] = []
        for layer in self.attention:
            total: Any = 0
            count = 0
            for prepared, block in blocks():
                x = self.attend(self.lifted(prepared, block), folded)
                total, count = total + layer.key_values(x), count + x.shape[1]
            folded.append(layer.fold(total / count))
        return folded

    def attend(self, x: Tensor, folded: list[Linear]) -> Tensor:
        """Apply attention layers to vectors (B, Q, width): one layer for each entry of `folded`, from the first on."""
        for layer, own in zip(self.attention, folded, strict=False):
            x = layer(x, own)
        return x

    def query(self, prepared: Tensor, queries: Queries) -> Tensor:
        x = self.lifted(prepared, queries)
        if queries.context is not None:
            x = self.attend(x, queries.context)
        else:
            for layer in self.attention:
                x = layer(x, layer.fold(layer.key_values(x) / x.shape[1]))
        hidden, last = self.project
        return last(F.gelu(hidden(x)))
