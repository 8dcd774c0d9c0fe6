"""Networks that predict an image's values at any coordinate, one per `*_arch.py`."""
from liif_basicsr.archs.registry import (
    build_network,
    check_network,
    find_arch,
    fixed_scale_block,
    list_archs,
    register_arch,
)

__all__ = ["build_network", "check_network", "find_arch", "fixed_scale_block", "list_archs", "register_arch"]
