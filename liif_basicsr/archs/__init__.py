"""Networks that answer any coordinate of an image."""
from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from liif_basicsr.archs.encoders import check_encoder
from liif_basicsr.utils.errors import LIIFError, errors_in
from liif_basicsr.utils.options import check_arguments, suggest

# Name in the options -> module in this folder. Imported when asked for.
ARCHS = {
    "LIIF": "liif_arch",
    "MetaSR": "metasr_arch",
    "ContinuousShuffleSR": "continuous_shuffle_arch",
    "PixelShuffleSR": "pixelshuffle_arch",
}


def check_network(opt: Mapping[str, Any]) -> type[nn.Module] | None:
    """The class that a `network_g` block names, its arguments checked; None where it is not one of ours."""
    name = opt.get("type")
    if not isinstance(name, str) or name not in ARCHS:
        return None
    cls = getattr(import_module(f"{__name__}.{ARCHS[name]}"), name)
    check_arguments(cls, {key: value for key, value in opt.items() if key != "type"}, "network_g")
    if "encoder" in opt:
        check_encoder(opt["encoder"])
    return cls


def build_network(opt: Mapping[str, Any]) -> nn.Module:
    """Make one of the plugin's networks from its `network_g` block.

    Raises:
        LIIFError: no such type or argument, one of the wrong type, or some that do not go together.
    """
    cls = check_network(opt)
    if cls is None:
        raise LIIFError(f"network_g: type {opt.get('type')!r} is not of this plugin{suggest(opt.get('type'), ARCHS)}")
    with errors_in("network_g", RuntimeError):
        return cls(**{key: value for key, value in opt.items() if key != "type"})
