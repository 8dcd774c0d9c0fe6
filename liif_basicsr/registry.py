"""What the plugin adds to BasicSR's registries, under the names that options files use."""
from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from liif_basicsr import excepthook
from liif_basicsr.startup import warn

# registry in basicsr.utils.registry -> name -> the module that defines it
TABLE = {
    "ARCH_REGISTRY": {
        "LIIF": "liif_basicsr.archs.liif_arch",
    },
    "DATASET_REGISTRY": {
    },
    "MODEL_REGISTRY": {
    },
    "METRIC_REGISTRY": {
    },
}


def entries() -> Iterator[tuple[str, str, str]]:
    """All of the table: (registry, name, module)."""
    for registry, names in TABLE.items():
        for name, module in names.items():
            yield registry, name, module


def owner(registry: str, name: str) -> str | None:
    """The module of what BasicSR has under a name, or None where it has nothing."""
    table = dict(getattr(import_module("basicsr.utils.registry"), registry))
    return getattr(table[name], "__module__", "an unknown module") if name in table else None


def register() -> None:
    """Enter the plugin's architectures, datasets, models and metrics in BasicSR's registries.

    Any number of calls is harmless. A name that somebody else owns is left to its owner, with a warning.
    """
    for registry, name, module in entries():
        present = owner(registry, name)
        if present is None:
            thing = getattr(import_module(module), name)
            if owner(registry, name) is None:
                getattr(import_module("basicsr.utils.registry"), registry).register(thing)
        elif present != module:
            warn(f"BasicSR's {registry} has {name} from {present}; it is left as it is")
    excepthook.install()
