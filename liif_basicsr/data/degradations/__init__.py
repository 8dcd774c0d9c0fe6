"""Degradations, which downsample a photograph and add blur, noise or compression artifacts.

To add one, put a file into this folder:

    from pydantic import Field

    from liif_basicsr.config.degradations import DegradationOptions
    from liif_basicsr.data.degradations.degradation import register_degradation

    @register_degradation("darken")
    class Darken:
        class Options(DegradationOptions):
            factor: float = Field(0.5, ge=0, le=1, description="factor of the brightness")

        def __init__(self, settings, where): ...     # checked options; `where` names the block in messages
        def __call__(self, image, size): ...         # uint8 (H, W, 3) RGB to uint8 (h, w, 3); size is (h, w)

The class may draw random numbers from `random`, NumPy and torch, as BasicSR's functions do. `Degradation` seeds all
three generators.
"""
from __future__ import annotations

import pkgutil
from importlib import import_module

from liif_basicsr.data.degradations.degradation import DEGRADATIONS, Degradation, register_degradation, seed_of, seeded

__all__ = ["DEGRADATIONS", "Degradation", "register_degradation", "seed_of", "seeded"]

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
