"""Check output files before a long run."""
from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from liif_basicsr.errors import LIIFError, suggest


def check_output(path: Path, suffixes: Iterable[str]) -> None:
    """Check that a file can be written, and create its folder.

    Raises:
        LIIFError: the suffix is not in `suffixes`, or the file cannot be written.
    """
    if path.suffix not in (known := list(suffixes)):
        raise LIIFError(f"{path}: cannot be written as {path.suffix!r}{suggest(path.suffix, known)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LIIFError(f"{path}: cannot be written: {error.strerror}") from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise LIIFError(f"{path}: cannot be written: {'is a folder' if path.is_dir() else 'its folder is read-only'}")
