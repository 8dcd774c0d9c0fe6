"""Optional imports."""
from __future__ import annotations

from importlib import import_module

from liif_basicsr.errors import LIIFError


def import_basicsr() -> None:
    """Import BasicSR, which also registers the plugin.

    Raises:
        LIIFError: BasicSR is not installed.
    """
    try:
        import_module("basicsr")
    except ModuleNotFoundError as error:
        if error.name == "basicsr":
            raise LIIFError("BasicSR is not installed; run `python -m liif_basicsr install-basicsr`") from None
        raise
