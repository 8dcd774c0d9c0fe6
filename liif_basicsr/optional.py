"""What parts of the package need, and others do without."""
from __future__ import annotations

from importlib import import_module

from liif_basicsr.errors import LIIFError


def import_basicsr() -> None:
    """Import BasicSR, first and whole: importing it registers what the plugin adds to it.

    Raises:
        LIIFError: it is not installed.
    """
    try:
        import_module("basicsr")
    except ModuleNotFoundError as error:
        if error.name == "basicsr":
            raise LIIFError("BasicSR is not installed; `python -m liif_basicsr install-basicsr` does it") from None
        raise
