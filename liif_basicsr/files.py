"""Files that are written whole or not at all."""
from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from liif_basicsr.errors import LIIFError


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears as `path` when the context ends well, and leaves nothing when it does not.

    Raises:
        LIIFError: the folder cannot be written to, or the disk is full; an older file is then as it was.
    """
    partial = None
    try:
        with tempfile.NamedTemporaryFile("w+b", dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
            partial = file.name
            yield file
            file.flush()
            os.fsync(file.fileno())
        _set_mode(partial)
        os.replace(partial, path)
    except OSError as error:
        raise LIIFError(f"cannot be written: {error.strerror or error}") from None
    finally:
        if partial is not None and os.path.exists(partial):
            os.unlink(partial)


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        LIIFError: it cannot be written; an older file is then as it was.
    """
    try:
        with atomic_write(path) as file:
            file.write(content)
    except LIIFError as error:
        raise LIIFError(f"{path}: {error}") from None


def _set_mode(path: str) -> None:
    """The rights that any new file gets; a temporary one is its owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)
