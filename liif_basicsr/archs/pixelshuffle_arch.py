"""PixelShuffleSR: an encoder and the usual fixed-scale upsampler, a baseline of the LIIF paper."""
from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork
from liif_basicsr.archs.registry import build_encoder, register_arch
from liif_basicsr.archs.resample import ResampleDecoder


@register_arch
class PixelShuffleSR(ContinuousNetwork):
    """An encoder with a fixed-scale upsampler, such as the LIIF paper's baselines EDSR-baseline and RDN.

    At other scales its output is resized. Differs from BasicSR's EDSR: no mean shift, as in the official LIIF code.

    Args:
        encoder: `type` and arguments of an encoder, see `liif_basicsr.archs.encoders`.
        scale: upscaling factor of the upsampler.
        num_in_ch: channels of the input.
        num_out_ch: channels of the output.

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
    """The upsampler of EDSR and RDN; at other scales than its own, its output is resized.

    Args:
        in_channels: channels of the feature grid.
        scale: 2, 3, 4 or 8.
        num_out_ch: channels of the output.

    Source: EDSR (Lim et al., CVPRW 2017), section 3.2. The parameters have the layout of the official LIIF code
    (for RDN in configuration B, where all widths are equal).
    """

    prepare_halo = 2  # the upsampler's convolutions reach less than 2 features in total

    def __init__(self, in_channels: int, scale: int, num_out_ch: int = 3) -> None:
        super().__init__(scale, num_out_ch)
        layers: list[nn.Module] = []
        for step in [3] if scale == 3 else [2] * (scale.bit_length() - 1):
            layers += [nn.Conv2d(in_channels, step**2 * in_channels, 3, padding=1), nn.PixelShuffle(step)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(in_channels, num_out_ch, 3, padding=1))

    def prepare(self, feat: Tensor) -> Tensor:
        """Compute the image at the upsampler's scale: (B, C, h, w) to (B, D * scale * scale, h, w)."""
        return F.pixel_unshuffle(self.layers(feat), self.scale)
