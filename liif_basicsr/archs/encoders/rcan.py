"""RCAN (Zhang et al., ECCV 2018) without its upsampler."""
from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.encoders.edsr import ResidualTrunk
from liif_basicsr.archs.registry import register_encoder
from liif_basicsr.errors import LIIFError


class ChannelAttention(nn.Module):
    """Scales each channel by a factor computed from the global means of all channels."""

    def __init__(self, num_feat: int, squeeze_factor: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(num_feat, num_feat // squeeze_factor, 1)
        self.excite = nn.Conv2d(num_feat // squeeze_factor, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * self.excite(F.relu(self.squeeze(mean), inplace=True)).sigmoid()


class AttentionBlock(nn.Module):
    """A residual block: convolution, ReLU, convolution, channel attention."""

    def __init__(self, num_feat: int, squeeze_factor: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.attention = ChannelAttention(num_feat, squeeze_factor)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.conv2(F.relu(self.conv1(x), inplace=True)))


class ResidualGroup(nn.Module):
    """A residual group: attention blocks and a convolution, with a skip connection around them."""

    def __init__(self, num_feat: int, num_block: int, squeeze_factor: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(AttentionBlock(num_feat, squeeze_factor) for _ in range(num_block)))
        self.conv = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.blocks(x))


@register_encoder
class RCAN(ResidualTrunk):
    """RCAN without its upsampler as an encoder, with the defaults of the official LIIF code.

    Channel attention depends on the whole image, so `receptive_radius` is None.

    Differs from BasicSR's RCAN: it does not shift the mean, and a group has 20 blocks by default instead of 16.

    Args:
        num_in_ch: number of channels of the input image.
        num_feat: number of channels of the feature grid.
        num_group: number of residual groups.
        num_block: number of attention blocks in each group.
        squeeze_factor: factor by which the attention reduces the number of channels; at most `num_feat`.

    Raises:
        LIIFError: `squeeze_factor` exceeds `num_feat`.
    """

    def __init__(
        self, num_in_ch: int = 3, num_feat: int = 64, num_group: int = 10, num_block: int = 20, squeeze_factor: int = 16
    ) -> None:
        if num_feat < squeeze_factor:
            raise LIIFError(
                f"network_g: encoder: squeeze_factor: expected at most num_feat ({num_feat}), got {squeeze_factor}"
            )
        groups = (ResidualGroup(num_feat, num_block, squeeze_factor) for _ in range(num_group))
        super().__init__(num_in_ch, num_feat, groups, None)

    def official_key(self, key: str) -> str:
        """Return the name of a parameter in the official LIIF code."""
        key = super().official_key(key)
        key = key.replace(".conv.", f".body.{len(self.body[0].blocks)}.").replace(".blocks.", ".body.")
        return key.replace(".attention.squeeze.", ".body.3.conv_du.0.").replace(
            ".attention.excite.", ".body.3.conv_du.2."
        )
