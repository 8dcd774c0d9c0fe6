"""Meta-SR (Hu et al., CVPR 2019) as the LIIF paper compares with it."""
from __future__ import annotations

from typing import Any

from liif_basicsr.archs.continuous_arch import ContinuousNetwork
from liif_basicsr.archs.decoders.metasr import MetaDecoder
from liif_basicsr.archs.encoders import build_encoder
from liif_basicsr.config.checks import integer
from liif_basicsr.config.options import Field, check_block


class MetaSR(ContinuousNetwork):
    """Meta-SR's upscale module on any encoder: the baseline for arbitrary scales of the LIIF paper.

    Equals the official LIIF code's re-implementation; the module is the exact fast form, see `MetaDecoder`.

    Args:
        encoder: `type` (see `liif_basicsr.archs.encoders`) and its arguments.
        hidden_dim: width of the MLP's hidden layer.
        input_skip, scale: see `ContinuousNetwork`.

    Raises:
        LIIFError: an encoder or an argument that does not exist, or a value that it refuses.
    """

    def __init__(
        self, encoder: dict[str, Any], hidden_dim: int = 256, input_skip: str | None = None, scale: float = 4
    ) -> None:
        check_block({"hidden_dim": hidden_dim}, {"hidden_dim": Field(integer(1))}, "network_g")
        encoder_net: Any = build_encoder(encoder)
        super().__init__(encoder_net, MetaDecoder(encoder_net.out_channels, hidden_dim), input_skip, scale)
