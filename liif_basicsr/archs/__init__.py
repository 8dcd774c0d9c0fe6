"""Networks that give the colour at any coordinate of an image. ARCHS is the one table of them."""
from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import nn

from liif_basicsr.archs.encoders import check_encoder
from liif_basicsr.config.options import check_arguments, suggest
from liif_basicsr.errors import LIIFError, errors_in

# Name in the options -> module in this folder, imported when asked for. BasicSR's registry is filled from it.
ARCHS = {
    "LIIF": "liif_arch",
    "LMLIIF": "lmliif_arch",
    "LTE": "lte_arch",
    "MetaSR": "metasr_arch",
    "ContinuousShuffleSR": "continuous_shuffle_arch",
    "PixelShuffleSR": "pixelshuffle_arch",
    "FixedScaleSR": "fixed_scale_arch",
}


def find_class(name: Any) -> type[nn.Module] | None:
    """The class of a network: one of ARCHS, or a `ContinuousNetwork` that a project registered in BasicSR."""
    if not isinstance(name, str):
        return None
    if name in ARCHS:
        return getattr(import_module(f"{__name__}.{ARCHS[name]}"), name)
    if find_spec("basicsr") is None:
        return None
    registry = import_module("basicsr.utils.registry").ARCH_REGISTRY
    base = import_module(f"{__name__}.continuous_arch").ContinuousNetwork
    cls = registry.get(name) if name in registry else None
    return cls if isinstance(cls, type) and issubclass(cls, base) else None


def check_network(opt: Mapping[str, Any]) -> type[nn.Module] | None:
    """The class that a `network_g` block names, its arguments checked; None where it is no `ContinuousNetwork`."""
    cls = find_class(opt.get("type"))
    if cls is None:
        return None
    check_arguments(cls, {key: value for key, value in opt.items() if key != "type"}, "network_g")
    if "encoder" in opt:
        check_encoder(opt["encoder"])
    return cls


def build_network(opt: Mapping[str, Any]) -> nn.Module:
    """Make a network from its `network_g` block: what BasicSR builds, this builds.

    Raises:
        LIIFError: no such type or argument, one of the wrong type, or some that do not go together.
    """
    cls = check_network(opt)
    if cls is None:
        raise LIIFError(f"network_g: type {opt.get('type')!r} is not of this plugin{suggest(opt.get('type'), ARCHS)}")
    with errors_in("network_g", RuntimeError):
        return cls(**{key: value for key, value in opt.items() if key != "type"})


def fixed_scale_block(opt: Mapping[str, Any], scale: int | None = None) -> Mapping[str, Any]:
    """A `network_g` block as `build_network` takes it: of an architecture of BasicSR, that of a `FixedScaleSR`.

    Raises:
        LIIFError: no such network, or `scale` is given for one of this plugin.
    """
    name = opt.get("type")
    if find_class(name) is not None:
        if scale is not None:
            raise LIIFError(f"scale: is for networks of one scale, {name} enlarges by any; leave it out")
        return opt
    import basicsr.archs  # noqa: F401  fills the registry
    from basicsr.utils.registry import ARCH_REGISTRY

    # BasicSR registers some of its own with a suffix, and finds them without.
    known = [*ARCHS, *(known.removesuffix("_basicsr") for known, _ in ARCH_REGISTRY)]
    if name not in known:
        raise LIIFError(f"network_g: type {name!r} does not exist{suggest(name, dict.fromkeys(known))}")
    return {"type": "FixedScaleSR", "arch": dict(opt), "scale": scale}
