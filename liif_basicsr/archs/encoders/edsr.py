"""EDSR (Lim et al., CVPRW 2017) without its upsampler: 'EDSR-baseline' in the LIIF paper."""
from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """conv, ReLU, conv, and the input added; no batch normalisation."""

    def __init__(self, num_feat: int, res_scale: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        res = self.conv2(F.relu(self.conv1(x), inplace=True))
        return x + res if self.res_scale == 1 else x + res * self.res_scale


class EDSR(nn.Module):
    """EDSR's residual trunk as an encoder; the defaults are EDSR-baseline, the paper's smaller encoder.

    Differs from BasicSR's EDSR: no upsampler, no mean shift (the official LIIF leaves it out), PyTorch's default
    initialisation.

    Args:
        num_in_ch: channels of the input image.
        num_feat: channels of the feature grid.
        num_block: residual blocks.
        res_scale: what a block's residual is multiplied with before it is added.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, num_block: int = 16, res_scale: float = 1.0) -> None:
        super().__init__()
        self.out_channels = num_feat
        self.receptive_radius = 2 * num_block + 2
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(num_feat, res_scale) for _ in range(num_block)))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(x)
        return x + self.conv_after_body(self.body(x))

    def official_key(self, key: str) -> str:
        """The name of a parameter of ours in the official LIIF code."""
        key = key.replace("conv_first.", "head.0.").replace("conv_after_body.", f"body.{len(self.body)}.")
        return key.replace(".conv1.", ".body.0.").replace(".conv2.", ".body.2.")
