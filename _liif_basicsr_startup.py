"""Run when Python starts, from `liif_basicsr-startup.start` (Python 3.15 and newer, PEP 829) or `.pth` (older).

Importing the package installs the hook that registers the plugin when BasicSR is imported. LIIF_BASICSR_DISABLE=1
disables it. Errors are ignored, so that Python always starts.
"""
import os


def start() -> None:
    """Import the package unless LIIF_BASICSR_DISABLE is set."""
    if os.environ.get("LIIF_BASICSR_DISABLE", "0") not in ("", "0"):
        return
    try:
        import liif_basicsr  # noqa: F401
    except Exception:
        pass
