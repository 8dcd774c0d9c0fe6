"""RRDBNet (Wang et al., ESRGAN, ECCVW 2018), the generator of Real-ESRGAN, without its upsampler."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.registry import register_encoder

RES_SCALE = 0.2
SLOPE = 0.2


class DenseBlock(nn.Module):
    """A residual block of five densely connected convolutions."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        for k in range(4):
            setattr(self, f"conv{k + 1}", nn.Conv2d(num_feat + k * num_grow_ch, num_grow_ch, 3, padding=1))
        self.conv5 = nn.Conv2d(num_feat + 4 * num_grow_ch, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        grown = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            grown.append(F.leaky_relu_(conv(torch.cat(grown, 1)), SLOPE))
        return torch.add(x, self.conv5(torch.cat(grown, 1)), alpha=RES_SCALE)


class RRDB(nn.Module):
    """A residual block of three dense blocks."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(num_feat, num_grow_ch)
        self.rdb2 = DenseBlock(num_feat, num_grow_ch)
        self.rdb3 = DenseBlock(num_feat, num_grow_ch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=RES_SCALE)


@register_encoder
class RRDBNet(nn.Module):
    """RRDBNet's trunk as an encoder, in plain PyTorch.

    Parameters have the names of BasicSR's RRDBNet, and the input is mapped to [0, 1] as there, so that weights of
    Real-ESRGAN fit.

    Args:
        num_in_ch: channels of the input image.
        num_feat: channels of the feature grid.
        num_block: residual blocks; Real-ESRGAN x4plus has 23.
        num_grow_ch: channels that each convolution of a dense block adds.
        receptive_radius: halo of a tile in pixels; ~ is the exact radius, 15 * num_block + 2. Distant pixels hardly
            matter, and a smaller halo is faster on large images.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 8,
        num_grow_ch: int = 32,
        receptive_radius: int | None = None,
    ) -> None:
        super().__init__()
        self.out_channels = num_feat
        self.receptive_radius = 15 * num_block + 2 if receptive_radius is None else receptive_radius
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(x * 0.5 + 0.5)
        return x + self.conv_body(self.body(x))
