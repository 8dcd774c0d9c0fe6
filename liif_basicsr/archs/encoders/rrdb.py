"""RRDBNet (Wang et al., ESRGAN, ECCVW 2018; the generator of Real-ESRGAN) without its upsampler."""
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
    """RRDBNet without its upsampler as an encoder. This implementation does not need BasicSR.

    The parameters have the names of BasicSR's RRDBNet, and the network receives images in [0, 1], as in BasicSR.
    Real-ESRGAN's weights can therefore be loaded.

    Args:
        num_in_ch: number of channels of the input image.
        num_feat: number of channels of the feature grid.
        num_block: number of residual blocks; Real-ESRGAN x4plus has 23.
        num_grow_ch: number of channels that each convolution of a dense block adds.
        receptive_radius: overlap of tiles in pixels. ~ is the exact radius, 15 * num_block + 2. A smaller overlap is
            faster on large images and changes the result little, because distant pixels have little effect.
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
