"""Registries of networks and encoders, which options files and `load` refer to by class name.

To add a network, write a new file `*_arch.py` with a class decorated with `@register_arch`. To add an encoder, write a
new file in `encoders/` with a class decorated with `@register_encoder`.
"""
from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from torch import nn

from liif_basicsr.config.base import check_arguments
from liif_basicsr.errors import LIIFError, errors_in, suggest

Class = TypeVar("Class", bound=type[nn.Module])

ARCHS: dict[str, type[nn.Module]] = {}
ENCODERS: dict[str, type[nn.Module]] = {}


def register_arch(cls: Class) -> Class:
    """Register a network under its class name, and make its constructor check the arguments.

    Options files (`network_g: type`), `load` and BasicSR then find the network by this name.
    """
    return _register(cls, ARCHS, "network_g")


def register_encoder(cls: Class) -> Class:
    """Register an encoder under its class name for `encoder: type`, and make its constructor check the arguments."""
    return _register(cls, ENCODERS, "network_g: encoder")


def _register(cls: Class, registry: dict[str, type[nn.Module]], where: str) -> Class:
    """Register a class, and make its constructor check its arguments, because BasicSR passes options unchecked."""
    init = cls.__init__
    signature = inspect.signature(init)

    @functools.wraps(init)
    def checked(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs).arguments
        given.pop("self")
        check_arguments(cls, given, where)
        init(self, *args, **kwargs)

    registry[cls.__name__] = cls
    cls.__init__ = checked
    return cls


def list_archs() -> list[str]:
    """Return the names of the plugin's networks, which `network_g: type` accepts."""
    return sorted(ARCHS)


def list_encoders() -> list[str]:
    """Return the names of the encoders, which `encoder: type` accepts."""
    return sorted(ENCODERS)


def find_arch(name: Any) -> type[nn.Module] | None:
    """Return the class of a network by name.

    The network is one of the plugin's, or a `ContinuousNetwork` that a project registered in BasicSR. For any other
    name, return None.
    """
    if not isinstance(name, str):
        return None
    if name in ARCHS:
        return ARCHS[name]
    if find_spec("basicsr") is None:
        return None
    from liif_basicsr.archs.base import ContinuousNetwork

    registry = import_module("basicsr.utils.registry").ARCH_REGISTRY
    cls = registry.get(name) if name in registry else None
    return cls if isinstance(cls, type) and issubclass(cls, ContinuousNetwork) else None


def check_network(opt: Mapping[str, Any]) -> type[nn.Module] | None:
    """Check the arguments in a `network_g` block and return the network's class.

    Returns None, without a check, if the type is unknown or not a `ContinuousNetwork`.
    """
    cls = find_arch(opt.get("type"))
    if cls is None:
        return None
    check_arguments(cls, {key: value for key, value in opt.items() if key != "type"}, "network_g")
    if "encoder" in opt:
        check_encoder(opt["encoder"])
    return cls


def build_network(opt: Mapping[str, Any]) -> nn.Module:
    """Build a network from its `network_g` block.

    Raises:
        LIIFError: the type or an argument is unknown, or a value is invalid.
    """
    cls = check_network(opt)
    if cls is None:
        raise _unknown_network(opt.get("type"), ARCHS)
    with errors_in("network_g", RuntimeError):
        return cls(**{key: value for key, value in opt.items() if key != "type"})


def _unknown_network(name: Any, known: Iterable[str]) -> LIIFError:
    own = "if your project registers it, import its module first (on the command line with `--import MODULE`)"
    return LIIFError(f"network_g: type: unknown network {name!r}; {own}{suggest(name, known)}")


def check_encoder(spec: Any, where: str = "network_g: encoder") -> type[nn.Module]:
    """Check the arguments in an encoder's block and return the encoder's class.

    Raises:
        LIIFError: the type or an argument is unknown, or a value is invalid. The message starts with `where`.
    """
    if not isinstance(spec, Mapping):
        raise LIIFError(f"{where}: expected a block with a type and arguments, got {spec!r}")
    name = spec.get("type")
    if not isinstance(name, str) or name not in ENCODERS:
        raise LIIFError(f"{where}: type: unknown encoder {name!r}{suggest(name, ENCODERS)}")
    cls = ENCODERS[name]
    check_arguments(cls, {key: value for key, value in spec.items() if key != "type"}, where)
    return cls


def build_encoder(spec: Mapping[str, Any], num_in_ch: int = 3, where: str = "network_g: encoder") -> Any:
    """Build an encoder from its block in the options.

    Args:
        spec: the encoder's `type` and arguments.
        num_in_ch: number of channels of the encoder's input. The block may repeat it.
        where: name of the block in messages.

    Raises:
        LIIFError: `check_encoder` fails, the block sets a different num_in_ch, or the arguments do not fit each other.
    """
    cls = check_encoder(spec, where)
    kwargs = {"num_in_ch": num_in_ch, **{key: value for key, value in spec.items() if key != "type"}}
    if kwargs["num_in_ch"] != num_in_ch:
        raise LIIFError(
            f"{where}: num_in_ch: is {kwargs['num_in_ch']}, but this block's number of input channels is {num_in_ch}; "
            "remove num_in_ch here (network_g: num_in_ch is the number of channels of the images)"
        )
    with errors_in(f"{where} {cls.__name__}", RuntimeError):
        return cls(**kwargs)


def fixed_scale_block(opt: Mapping[str, Any], scale: int | None = None) -> Mapping[str, Any]:
    """Return a `network_g` block that `build_network` accepts.

    An architecture in BasicSR's registry is wrapped in `FixedScaleSR`. A block of one of the plugin's networks is
    returned unchanged.

    Args:
        opt: the `network_g` block.
        scale: upscaling factor of a fixed-scale architecture; None finds it by running the architecture.

    Raises:
        LIIFError: the network is unknown, or `scale` is set for one of the plugin's networks.
    """
    name = opt.get("type")
    if find_arch(name) is not None:
        if scale is not None:
            raise LIIFError(f"scale: applies only to fixed-scale networks, but {name} takes any scale; leave scale out")
        return opt
    import basicsr.archs  # noqa: F401  fills the registry
    from basicsr.utils.registry import ARCH_REGISTRY

    # BasicSR registers some of its architectures with this suffix, but finds them without it.
    known = [*ARCHS, *(known.removesuffix("_basicsr") for known, _ in ARCH_REGISTRY)]
    if name not in known:
        raise _unknown_network(name, dict.fromkeys(known))
    return {"type": "FixedScaleSR", "arch": dict(opt), "scale": scale}
