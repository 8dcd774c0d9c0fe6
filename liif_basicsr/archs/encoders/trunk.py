"""The residual trunk shared by EDSR and RCAN."""
from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


class ResidualTrunk(nn.Module):
    """A convolution, then residual blocks and another convolution with a long skip connection around both.

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
