"""The upsampler of EDSR and RDN as a decoder: it makes an image at its own scale, which is then resized."""
from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.decoders.resample import ResampleDecoder
from liif_basicsr.config.checks import integer

SCALES = (2, 3, 4, 8)


def upsampler_scale(value: Any) -> int:
    """A scale that there is an upsampler of."""
    if integer(1)(value) not in SCALES:
        raise ValueError(f"must be one of {', '.join(map(str, SCALES))}")
    return value


class PixelShuffleDecoder(ResampleDecoder):
    """The upsampler of EDSR and RDN; at other scales than its own, its image resized, see `ResampleDecoder`.

    Args:
        in_channels: channels of the feature grid.
        scale: one of SCALES.

    Source: EDSR (Lim et al., CVPRW 2017), section 3.2, in the form of the official LIIF code, whose parameters these
    are (for RDN in configuration B, where all widths are the same).
    """

    prepare_halo = 2  # the upsampler's convolutions, below 2 features in all

    def __init__(self, in_channels: int, scale: int) -> None:
        super().__init__(scale)
        layers: list[nn.Module] = []
        for step in [3] if scale == 3 else [2] * (scale.bit_length() - 1):
            layers += [nn.Conv2d(in_channels, step**2 * in_channels, 3, padding=1), nn.PixelShuffle(step)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(in_channels, 3, 3, padding=1))

    def prepare(self, feat: Tensor) -> Tensor:
        """The image at its own scale, by the feature that its pixels lie in: (B, 3 * scale * scale, h, w)."""
        return F.pixel_unshuffle(self.layers(feat), self.scale)
