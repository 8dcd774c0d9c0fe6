"""LIIF: a continuous image from an encoder and a local implicit image function."""
from __future__ import annotations

from typing import Any

from liif_basicsr.archs.continuous_arch import ContinuousNetwork
from liif_basicsr.archs.decoders.liif import LIIFDecoder
from liif_basicsr.archs.encoders import build_encoder
from liif_basicsr.config.checks import boolean, integer, list_of
from liif_basicsr.config.options import Field, check_block

FIELDS = {
    "hidden_dims": Field(list_of(integer(1))),
    **dict.fromkeys(("local_ensemble", "feat_unfold", "cell_decode"), Field(boolean)),
}


class LIIF(ContinuousNetwork):
    """A network that enlarges an image by any factor (Chen, Liu, Wang, CVPR 2021).

    Differs from the official code: images are in [0, 1] outside, the official normalisation to [-1, 1] lies
    within; the decoder is the exact fast form, see `LIIFDecoder`.

    Args:
        encoder: `type` (see `liif_basicsr.archs.encoders`) and its arguments.
        hidden_dims: widths of the MLP's hidden layers.
        local_ensemble, feat_unfold, cell_decode: see `LIIFDecoder`.
        input_skip, scale: see `ContinuousNetwork`.

    Raises:
        LIIFError: an encoder, an argument or an input_skip that does not exist.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        hidden_dims: list[int] | tuple[int, ...] = (256, 256, 256, 256),
        local_ensemble: bool = True,
        feat_unfold: bool = True,
        cell_decode: bool = True,
        input_skip: str | None = None,
        scale: float = 4,
    ) -> None:
        given = {key: value for key, value in locals().items() if key in FIELDS}
        check_block(given, FIELDS, "network_g")
        encoder_net: Any = build_encoder(encoder)
        decoder = LIIFDecoder(
            encoder_net.out_channels, list(hidden_dims), local_ensemble, feat_unfold, cell_decode
        )
        super().__init__(encoder_net, decoder, input_skip, scale)
