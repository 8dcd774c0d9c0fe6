"""ConvNeXt blocks (Liu et al., CVPR 2022) without downsampling: the tail of Thera Plus."""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.registry import register_encoder


class Pointwise(nn.Module):
    """Layer normalization and a linear layer at each pixel: (B, C, h, w) to (B, D, h, w)."""

    def __init__(self, num_in_ch: int, num_out_ch: int) -> None:
        super().__init__()
        # Flax's default epsilon, as in the official code; PyTorch's is 1e-5.
        self.norm = nn.LayerNorm(num_in_ch, eps=1e-6)
        self.linear = nn.Linear(num_in_ch, num_out_ch)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """A residual block: a depthwise 3x3 convolution, a normalization, and an MLP with 4 * num_feat hidden units."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(num_feat, num_feat, 3, padding=1, groups=num_feat, bias=False)
        self.expand = Pointwise(num_feat, 4 * num_feat)
        self.contract = nn.Linear(4 * num_feat, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.expand(self.depthwise(x)), approximate="tanh")
        return x + self.contract(hidden.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@register_encoder
class ConvNeXt(nn.Module):
    """ConvNeXt blocks with 3x3 kernels and without downsampling, as Thera uses them.

    The defaults are the tail of Thera Plus. Between blocks of different widths, a normalization and a linear layer
    change the number of channels.

    Differs from the official code: if the numbers of channels of the input and the first block differ, a 3x3
    convolution comes first.

    Args:
        dims: number of channels of each block.
        num_in_ch: number of input channels.

    Raises:
        ValueError: `dims` is empty.
    """

    def __init__(self, dims: Sequence[int] = (64,) * 6 + (96,) * 7 + (128,) * 3, num_in_ch: int = 3) -> None:
        super().__init__()
        if not dims:
            raise ValueError("dims: expected at least one width, got []")
        layers: list[nn.Module] = []
        if num_in_ch != dims[0]:
            layers.append(nn.Conv2d(num_in_ch, dims[0], 3, padding=1))
        for before, dim in zip((dims[0], *dims), dims, strict=False):
            if before != dim:
                layers.append(Pointwise(before, dim))
            layers.append(ConvNeXtBlock(dim))
        self.layers = nn.Sequential(*layers)
        self.out_channels = dims[-1]
        self.receptive_radius = len(dims) + (num_in_ch != dims[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
