"""Networks that predict an image's values at any coordinate, one per file `*_arch.py`."""
from importlib import import_module
from pkgutil import iter_modules

from liif_basicsr.archs import encoders as encoders
from liif_basicsr.archs.registry import (
    build_network,
    check_network,
    find_arch,
    fixed_scale_block,
    list_archs,
    register_arch,
)

for _module in iter_modules(__path__):
    if _module.name.endswith("_arch"):
        import_module(f"{__name__}.{_module.name}")

__all__ = ["build_network", "check_network", "find_arch", "fixed_scale_block", "list_archs", "register_arch"]
