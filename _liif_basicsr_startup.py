"""All that Python runs of liif_basicsr when it starts; `liif_basicsr-startup.start` and `.pth` name it.

Python 3.15 and newer read the `.start` (PEP 829), older ones the `.pth`. Importing the package makes BasicSR find the
plugin once BasicSR is imported, and does nothing else. LIIF_BASICSR_DISABLE=1 switches it off. A failure is passed
over, for Python has to start.
"""
import os


def start() -> None:
    """Import the package, unless LIIF_BASICSR_DISABLE says not to."""
    if os.environ.get("LIIF_BASICSR_DISABLE", "0") not in ("", "0"):
        return
    try:
        import liif_basicsr  # noqa: F401
    except Exception:
        pass
