"""LTE: a continuous image from an encoder and a local texture estimator."""
from __future__ import annotations

from typing import Any

from liif_basicsr.archs.continuous_arch import ContinuousNetwork
from liif_basicsr.archs.decoders.lte import LTEDecoder
from liif_basicsr.archs.encoders import build_encoder
from liif_basicsr.config.checks import integer, list_of, number, optional
from liif_basicsr.config.options import Field, check_block

FIELDS = {
    "hidden_dims": Field(list_of(integer(1))),
    "num_freq": Field(integer(1)),
    "max_scale": Field(optional(number(1))),
}


class LTE(ContinuousNetwork):
    """A network that enlarges an image by any factor (Lee, Jin, *Local Texture Estimator*, CVPR 2022).

    Differs from the official code: images are in [0, 1] outside, the official normalisation to [-1, 1] lies within;
    what does not depend on the query is done at low resolution, see `LTEDecoder`.

    Args:
        encoder: `type` (see `liif_basicsr.archs.encoders`) and its arguments.
        hidden_dims: widths of the MLP's hidden layers.
        num_freq: frequencies estimated at a feature, each with the amplitudes of a cosine and a sine; half of the
            official `hidden_dim`.
        max_scale: the largest scale of training; whole images are decoded with cells no smaller than at this one, as
            the official test and demo do it. None takes cells as they are. Cells that are given are never changed.
        input_skip: `bilinear` adds the output to the bilinearly enlarged input, as the paper does; None does not.
        scale: what `net(lq)` enlarges by.

    Raises:
        LIIFError: an encoder or an argument that does not exist, or a value that it refuses.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        hidden_dims: list[int] | tuple[int, ...] = (256, 256, 256),
        num_freq: int = 128,
        max_scale: float | None = None,
        input_skip: str | None = "bilinear",
        scale: float = 4,
    ) -> None:
        given = {key: value for key, value in locals().items() if key in FIELDS}
        check_block(given, FIELDS, "network_g")
        encoder_net: Any = build_encoder(encoder)
        decoder = LTEDecoder(encoder_net.out_channels, hidden_dims, num_freq, max_scale)
        super().__init__(encoder_net, decoder, input_skip, scale)
