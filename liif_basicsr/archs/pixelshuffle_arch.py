"""PixelShuffleSR: an encoder with the usual fixed-scale upsampler, a baseline of the LIIF paper."""
from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork
from liif_basicsr.archs.registry import build_encoder, register_arch
from liif_basicsr.archs.resample import ResampleDecoder


@register_arch
class PixelShuffleSR(ContinuousNetwork):
    """An encoder with a fixed-scale upsampler, such as the baselines EDSR-baseline and RDN of the LIIF paper.

    At other scales, the output of the upsampler is resized; see `ResampleDecoder`.

    Differs from BasicSR's EDSR: as in the official LIIF code, it does not shift the mean.

    Args:
        encoder: the encoder's `type` and arguments; see `liif_basicsr.archs.encoders`.
        scale: upscaling factor of the upsampler.
        num_in_ch: number of input channels.
        num_out_ch: number of output channels.

    Raises:
        LIIFError: an argument is unknown or invalid.
    """

    def __init__(
        self, encoder: dict[str, Any], scale: Literal[2, 3, 4, 8] = 4, num_in_ch: int = 3, num_out_ch: int = 3
    ) -> None:
        features = build_encoder(encoder, num_in_ch)
        decoder = PixelShuffleDecoder(features.out_channels, int(scale), num_out_ch)
        super().__init__(features, decoder, None, int(scale), num_in_ch, num_out_ch)


class PixelShuffleDecoder(ResampleDecoder):
    """The upsampler of EDSR and RDN, with bicubic resizing of its output for other scales.

    Args:
        in_channels: number of channels of the feature grid.
        scale: upscaling factor of the upsampler: 2, 3, 4 or 8.
        num_out_ch: number of output channels.

    Source: EDSR (Lim et al., CVPRW 2017), section 3.2. The parameters have the layout of the official LIIF code,
    for RDN in its configuration B.
    """

    prepare_halo = 2  # the receptive radius of all the upsampler's convolutions together is below 2 features

    def __init__(self, in_channels: int, scale: int, num_out_ch: int = 3) -> None:
        super().__init__(scale, num_out_ch)
        layers: list[nn.Module] = []
        for step in [3] if scale == 3 else [2] * (scale.bit_length() - 1):
            layers += [nn.Conv2d(in_channels, step**2 * in_channels, 3, padding=1), nn.PixelShuffle(step)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(in_channels, num_out_ch, 3, padding=1))

    def prepare(self, feat: Tensor) -> Tensor:
        """Compute the `pixel_unshuffle` of the upsampler's output: (B, C, h, w) to (B, D * scale * scale, h, w)."""
        return F.pixel_unshuffle(self.layers(feat), self.scale)
