"""LM-LIIF: a continuous image from an encoder and a latent modulated function."""
from __future__ import annotations

from typing import Any

from liif_basicsr.archs.continuous_arch import ContinuousNetwork
from liif_basicsr.archs.decoders.lmliif import LMLIIFDecoder
from liif_basicsr.archs.encoders import build_encoder
from liif_basicsr.config.checks import boolean, integer, list_of, number, optional
from liif_basicsr.config.options import Field, check_block
from liif_basicsr.errors import LIIFError

SWITCHES = ("local_ensemble", "feat_unfold", "cell_decode", "mod_input", "mod_scale", "mod_shift")
FIELDS = {
    "latent_dims": Field(list_of(integer(1))),
    **dict.fromkeys(("render_dim", "render_depth"), Field(integer(1))),
    **dict.fromkeys(SWITCHES, Field(boolean)),
    "max_scale": Field(optional(number(1))),
}


class LMLIIF(ContinuousNetwork):
    """A network that enlarges an image by any factor, in far less time than LIIF (He, Jin, CVPR 2024).

    Differs from the official code: images are in [0, 1] outside, the official normalisation to [-1, 1] lies within;
    whole images are decoded feature by feature, see `LMLIIFDecoder`; there is no Controllable Multi-Scale Rendering.

    Args:
        encoder: `type` (see `liif_basicsr.archs.encoders`) and its arguments.
        latent_dims: widths of the hidden layers of the MLP at low resolution, the official `hypernet`.
        render_dim, render_depth: width and number of the hidden layers of the one for each pixel, official `imnet`.
        local_ensemble, feat_unfold, cell_decode, mod_input, mod_scale, mod_shift: see `LMLIIFDecoder`.
        max_scale: see `LTE`.
        input_skip, scale: see `ContinuousNetwork`.

    Raises:
        LIIFError: an encoder or an argument that does not exist, or a value that it refuses.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        latent_dims: list[int] | tuple[int, ...] = (208,),
        render_dim: int = 16,
        render_depth: int = 6,
        local_ensemble: bool = True,
        feat_unfold: bool = True,
        cell_decode: bool = True,
        mod_input: bool = True,
        mod_scale: bool = True,
        mod_shift: bool = True,
        max_scale: float | None = None,
        input_skip: str | None = None,
        scale: float = 4,
    ) -> None:
        given = {key: value for key, value in locals().items() if key in FIELDS}
        check_block(given, FIELDS, "network_g")
        if not (mod_input or mod_scale or mod_shift):
            raise LIIFError("network_g: one of mod_input, mod_scale or mod_shift must be true")
        encoder_net: Any = build_encoder(encoder)
        decoder = LMLIIFDecoder(encoder_net.out_channels, **given)
        super().__init__(encoder_net, decoder, input_skip, scale)
