"""Models that are known by name."""
from __future__ import annotations

from pathlib import Path

from liif_basicsr.errors import LIIFError
from liif_basicsr.options import suggest

# Name -> file in this folder.
BOXED = {
    "liif-light": "liif-light.pth",
}


def find(name_or_path: str | Path) -> Path:
    """The file of a model: of one known by name, else the path itself.

    Raises:
        LIIFError: neither a name nor a file.
    """
    if str(name_or_path) in BOXED:
        return Path(__file__).parent / BOXED[str(name_or_path)]
    path = Path(name_or_path)
    if not path.is_file():
        raise LIIFError(f"model {str(name_or_path)!r}: no such file and no known name{suggest(name_or_path, BOXED)}")
    return path
