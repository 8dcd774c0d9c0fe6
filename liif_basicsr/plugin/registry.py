"""What the plugin adds to BasicSR's registries, under the names that options files use."""
from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from liif_basicsr.archs import ARCHS
from liif_basicsr.plugin import excepthook, versions
from liif_basicsr.plugin.startup import warn

# registry in basicsr.utils.registry -> name -> the module that defines it
TABLE = {
    "ARCH_REGISTRY": {name: f"liif_basicsr.archs.{module}" for name, module in ARCHS.items()},
    "DATASET_REGISTRY": {
        "ArbitraryScaleImageDataset": "liif_basicsr.data.arbitrary_scale_image_dataset",
        "ArbitraryScalePairedDataset": "liif_basicsr.data.arbitrary_scale_paired_dataset",
        "SizeVariedPairedDataset": "liif_basicsr.data.size_varied_paired_dataset",
    },
    "MODEL_REGISTRY": {
        "LIIFModel": "liif_basicsr.models.liif_model",
        "LIIFGANModel": "liif_basicsr.models.liif_gan_model",
    },
    "LOSS_REGISTRY": {
        "TextureLoss": "liif_basicsr.losses.texture_loss",
    },
    "METRIC_REGISTRY": {
        "calculate_psnr_liif": "liif_basicsr.metrics.psnr_liif",
    },
}


def entries() -> Iterator[tuple[str, str, str]]:
    """All of the table: (registry, name, module)."""
    for registry, names in TABLE.items():
        for name, module in names.items():
            yield registry, name, module


def owner(registry: str, name: str) -> str | None:
    """The module of what BasicSR has under a name, or None where it has nothing."""
    known = _basicsr(registry)
    return getattr(known.get(name), "__module__", "an unknown module") if name in known else None


def register() -> None:
    """Enter the plugin's architectures, datasets, models, losses and metrics in BasicSR's registries.

    Any number of calls is harmless. A name that somebody else owns is left to its owner, with a warning.

    Raises:
        LIIFError: a BasicSR or a torch that is too old.
    """
    for distribution in ("torch", "basicsr"):
        versions.check(distribution, getattr(import_module(distribution), "__version__", ""))
    for registry, name, module in entries():
        if owner(registry, name) is None:
            thing = getattr(import_module(module), name)
            if owner(registry, name) is None:  # that import may have loaded BasicSR, and so registered all
                _basicsr(registry).register(thing)
        elif owner(registry, name) != module:
            warn(f"{name} in BasicSR's {registry} is from {owner(registry, name)}; the plugin's is left out")
    excepthook.install()


def _basicsr(registry: str):
    return getattr(import_module("basicsr.utils.registry"), registry)
