"""ContinuousShuffleSR: a network of any scale that computes almost everything at low resolution."""
from __future__ import annotations

from typing import Any

from liif_basicsr.archs.continuous_arch import ContinuousNetwork
from liif_basicsr.archs.decoders.continuous_shuffle import ContinuousShuffleDecoder
from liif_basicsr.archs.encoders import build_encoder
from liif_basicsr.config.checks import integer
from liif_basicsr.config.options import Field, check_block

FIELDS = {name: Field(integer(1)) for name in ("num_feat", "num_layer", "num_basis", "basis_dim")}


class ContinuousShuffleSR(ContinuousNetwork):
    """The continuous form of a network that ends in a pixel shuffle; for speed, see `ContinuousShuffleDecoder`.

    Args:
        encoder, input_skip, scale: see `LIIF`.
        num_feat, num_layer, num_basis, basis_dim: see `ContinuousShuffleDecoder`.

    Raises:
        LIIFError: an encoder or an argument that does not exist, or a value that it refuses.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        num_feat: int = 256,
        num_layer: int = 3,
        num_basis: int = 8,
        basis_dim: int = 64,
        input_skip: str | None = "bilinear",
        scale: float = 4,
    ) -> None:
        check_block({key: value for key, value in locals().items() if key in FIELDS}, FIELDS, "network_g")
        encoder_net: Any = build_encoder(encoder)
        decoder = ContinuousShuffleDecoder(encoder_net.out_channels, num_feat, num_layer, num_basis, basis_dim)
        super().__init__(encoder_net, decoder, input_skip, scale)
