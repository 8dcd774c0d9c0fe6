"""The decorator for the datasets, models, losses and metrics that the plugin adds to BasicSR's registries.

Architectures have a decorator of their own, see `liif_basicsr.archs.registry`.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

# BasicSR's registry -> name -> class or function
ENTRIES: dict[str, dict[str, Callable[..., Any]]] = {}

Entry = TypeVar("Entry", bound=Callable[..., Any])


def register_in(registry: str) -> Callable[[Entry], Entry]:
    """Mark a class or function for registration in one of BasicSR's registries, under its own name.

    The decorator itself does not need BasicSR. When BasicSR has been imported, `plugin.registry.register` adds the
    class or function to the registry.

    Args:
        registry: DATASET_REGISTRY, MODEL_REGISTRY, LOSS_REGISTRY or METRIC_REGISTRY.
    """

    def mark(entry: Entry) -> Entry:
        ENTRIES.setdefault(registry, {})[entry.__name__] = entry
        return entry

    return mark
