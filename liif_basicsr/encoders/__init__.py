"""Encoders: networks that turn an image into a feature grid of the same height and width.

An encoder is a `torch.nn.Module` with

- `out_channels` (int): channels of the grid;
- `receptive_radius` (int or None): how many pixels away an input pixel still matters, so that a picture can be
  encoded in overlapping tiles exactly; None where there is no such bound (attention);
- `official_key(key)`, where the official LIIF code has that encoder: the official name of one of its parameters;
- `forward(x)`: (B, 3, h, w) float, normalised to [-1, 1], to (B, out_channels, h, w), for any h and w,
  leaving `x` as it is.
"""
from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from liif_basicsr.errors import LIIFError
from liif_basicsr.options import check_arguments, suggest

# Name in the options -> module in this folder. Imported when asked for.
ENCODERS = {
    "EDSR": "edsr",
    "RDN": "rdn",
    "RCAN": "rcan",
    "SwinIR": "swinir",
    "BasicSRArch": "basicsr_arch",
}


def build_encoder(spec: dict[str, Any]) -> nn.Module:
    """Make an encoder from its block in the options.

    Args:
        spec: `type`, one of `ENCODERS`, and that encoder's own arguments.

    Raises:
        LIIFError: no such encoder or argument; the message names the ones there are.
    """
    kwargs = dict(spec)
    name = kwargs.pop("type", None)
    if name not in ENCODERS:
        raise LIIFError(f"encoder type {name!r} does not exist{suggest(name, ENCODERS)}")
    cls = getattr(import_module(f"{__name__}.{ENCODERS[name]}"), name)
    check_arguments(cls, kwargs, "encoder")
    return cls(**kwargs)
