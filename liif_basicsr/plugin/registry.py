"""Add the plugin's architectures, datasets, models, losses and metrics to BasicSR's registries."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from liif_basicsr.archs.registry import ARCHS
from liif_basicsr.plugin import excepthook, versions
from liif_basicsr.plugin.startup import warn
from liif_basicsr.registration import ENTRIES

# Package -> suffix of the modules that are imported to find entries, as in BasicSR. A new entry needs only a module.
SCANNED = {"data": "_dataset", "models": "_model", "losses": "_loss", "metrics": ""}


def entries() -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Yield (registry, name, class or function) for everything that the plugin adds.

    `registry` is the name of a registry in `basicsr.utils.registry`.
    """
    for package, suffix in SCANNED.items():
        for module in iter_modules(import_module(f"liif_basicsr.{package}").__path__):
            if module.name.endswith(suffix):
                import_module(f"liif_basicsr.{package}.{module.name}")
    for name, arch in ARCHS.items():
        yield "ARCH_REGISTRY", name, arch
    for registry, named in ENTRIES.items():
        for name, entry in named.items():
            yield registry, name, entry


def owner(registry: str, name: str) -> str | None:
    """Return the module that defines the entry `name` of one of BasicSR's registries, or None if there is no entry."""
    known = getattr(import_module("basicsr.utils.registry"), registry)
    return getattr(known.get(name), "__module__", "an unknown module") if name in known else None


def register() -> None:
    """Register everything that the plugin adds to BasicSR; calling it again is harmless.

    If another package has already registered a name, its entry is kept, and a warning is printed.

    Raises:
        LIIFError: BasicSR or torch is too old.
    """
    for distribution in ("torch", "basicsr"):
        versions.check(distribution, getattr(import_module(distribution), "__version__", ""))
    known = list(entries())
    for registry, name, entry in known:
        found = owner(registry, name)
        if found is None:
            getattr(import_module("basicsr.utils.registry"), registry).register(entry)
        elif found != entry.__module__:
            warn(f"{name}: {found} has already registered this name in BasicSR's {registry}; its entry is kept, and "
                 "the plugin's is not registered")  # fmt: skip
    excepthook.install([name for _, name, _ in known])
