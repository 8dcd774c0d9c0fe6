"""EDSR (Lim et al., CVPRW 2017) without its upsampler; with the defaults, EDSR-baseline of the LIIF paper."""
from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.registry import register_encoder


class ResidualBlock(nn.Module):
    """A residual block: convolution, ReLU, convolution, without batch normalization."""

    def __init__(self, num_feat: int, res_scale: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        res = self.conv2(F.relu(self.conv1(x), inplace=True))
        return x + res if self.res_scale == 1 else x + res * self.res_scale


class ResidualTrunk(nn.Module):
    """The trunk of EDSR and RCAN: a convolution, then residual blocks and a convolution with a long skip connection.

    Args:
        num_in_ch: number of channels of the input image.
        num_feat: number of channels of the feature grid.
        blocks: modules that map `num_feat` channels to `num_feat` channels.
        receptive_radius: receptive radius of the whole trunk in pixels; None if it is unbounded.
    """

    def __init__(
        self, num_in_ch: int, num_feat: int, blocks: Iterable[nn.Module], receptive_radius: int | None
    ) -> None:
        super().__init__()
        self.out_channels = num_feat
        self.receptive_radius = receptive_radius
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(*blocks)
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(x)
        return x + self.conv_after_body(self.body(x))

    def official_key(self, key: str) -> str:
        """Return the name of a parameter in the official LIIF code."""
        key = key.replace("conv_first.", "head.0.").replace("conv_after_body.", f"body.{len(self.body)}.")
        return key.replace(".conv1.", ".body.0.").replace(".conv2.", ".body.2.")


@register_encoder
class EDSR(ResidualTrunk):
    """EDSR without its upsampler as an encoder. The defaults are EDSR-baseline, the LIIF paper's smaller encoder.

    Differs from BasicSR's EDSR: as in the official LIIF code, it does not shift the mean, and it uses PyTorch's default
    initialization.

    Args:
        num_in_ch: number of channels of the input image.
        num_feat: number of channels of the feature grid.
        num_block: number of residual blocks.
        res_scale: factor that multiplies the residual of each block.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, num_block: int = 16, res_scale: float = 1.0) -> None:
        blocks = (ResidualBlock(num_feat, res_scale) for _ in range(num_block))
        super().__init__(num_in_ch, num_feat, blocks, 2 * num_block + 2)
