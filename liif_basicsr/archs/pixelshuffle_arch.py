"""PixelShuffleSR: an encoder and the usual upsampler of one scale, which the LIIF paper compares with."""
from __future__ import annotations

from typing import Any

from liif_basicsr.archs.continuous_arch import ContinuousNetwork
from liif_basicsr.archs.decoders.pixelshuffle import PixelShuffleDecoder, upsampler_scale
from liif_basicsr.archs.encoders import build_encoder
from liif_basicsr.config.options import Field, check_block


class PixelShuffleSR(ContinuousNetwork):
    """Any encoder with an upsampler of one scale: EDSR-baseline and RDN as the LIIF paper compares with them.

    At other scales its image is resized, see `PixelShuffleDecoder`. Differs from BasicSR's EDSR: no mean shift, as
    in the official LIIF code.

    Args:
        encoder: `type` (see `liif_basicsr.archs.encoders`) and its arguments.
        scale: 2, 3, 4 or 8.

    Raises:
        LIIFError: an encoder, an argument or a scale that does not exist.
    """

    def __init__(self, encoder: dict[str, Any], scale: int = 4) -> None:
        check_block({"scale": scale}, {"scale": Field(upsampler_scale)}, "network_g")
        encoder_net: Any = build_encoder(encoder)
        super().__init__(encoder_net, PixelShuffleDecoder(encoder_net.out_channels, scale), None, scale)
