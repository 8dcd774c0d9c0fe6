"""Encoders: networks that turn an image into a feature grid of the same height and width.

An encoder is a `torch.nn.Module` with

- `out_channels` (int): channels of the grid;
- `receptive_radius` (int or None): how many pixels away an input pixel still matters, so that an image can be
  encoded in overlapping tiles exactly; None where there is no such bound (attention);
- `official_key(key)`, where the official LIIF code has that encoder: the official name of one of its parameters;
- `forward(x)`: (B, 3, h, w) float, normalised to [-1, 1], to (B, out_channels, h, w), for any h and w,
  leaving `x` as it is.
"""
from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from liif_basicsr.config.options import check_arguments, suggest
from liif_basicsr.errors import LIIFError, errors_in

# Name in the options -> module in this folder. Imported when asked for.
ENCODERS = {
    "EDSR": "edsr",
    "RDN": "rdn",
    "RCAN": "rcan",
    "SwinIR": "swinir",
    "BasicSRArch": "basicsr_arch",
}


def check_encoder(spec: Any) -> type[nn.Module]:
    """The class that an encoder's block names, its arguments checked.

    Raises:
        LIIFError: no such encoder or argument, the message names the ones there are; or one of the wrong type.
    """
    if not isinstance(spec, Mapping):
        raise LIIFError(f"network_g: encoder: must be a block, its type and arguments, not {spec!r}")
    name = spec.get("type")
    if not isinstance(name, str) or name not in ENCODERS:
        raise LIIFError(f"network_g: encoder type {name!r} does not exist{suggest(name, ENCODERS)}")
    cls = getattr(import_module(f"{__name__}.{ENCODERS[name]}"), name)
    check_arguments(cls, {key: value for key, value in spec.items() if key != "type"}, "network_g: encoder")
    return cls


def build_encoder(spec: Mapping[str, Any]) -> nn.Module:
    """Make an encoder from its block in the options.

    Args:
        spec: `type`, one of `ENCODERS`, and that encoder's own arguments.

    Raises:
        LIIFError: as `check_encoder`, or arguments that do not go together.
    """
    cls = check_encoder(spec)
    with errors_in(f"network_g: encoder {cls.__name__}", RuntimeError):
        return cls(**{key: value for key, value in spec.items() if key != "type"})
