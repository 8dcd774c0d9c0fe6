"""Enter the plugin's architectures, datasets, models, losses and metrics in BasicSR's registries."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from liif_basicsr.archs.registry import ARCHS
from liif_basicsr.plugin import excepthook, versions
from liif_basicsr.plugin.startup import warn
from liif_basicsr.registration import ENTRIES

# Package -> suffix of the modules that it scans, as in BasicSR. Adding an entry takes one file with this suffix.
SCANNED = {"data": "_dataset", "models": "_model", "losses": "_loss", "metrics": ""}


def entries() -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Yield (registry in basicsr.utils.registry, name, class or function) of everything that the plugin adds."""
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
    """Return the module of the entry with this name in one of BasicSR's registries, or None."""
    known = getattr(import_module("basicsr.utils.registry"), registry)
    return getattr(known.get(name), "__module__", "an unknown module") if name in known else None


def register() -> None:
    """Register everything that the plugin adds to BasicSR; calling it again is harmless.

    A name that another package has registered is left alone, with a warning.

    Raises:
        LIIFError: BasicSR or torch is too old.
    """
    for distribution in ("torch", "basicsr"):
        versions.check(distribution, getattr(import_module(distribution), "__version__", ""))
    for registry, name, entry in entries():
        found = owner(registry, name)
        if found is None:
            getattr(import_module("basicsr.utils.registry"), registry).register(entry)
        elif found != entry.__module__:
            warn(f"{name}: BasicSR's {registry} already has this name, from {found}; the plugin's is not registered")
    excepthook.install()
