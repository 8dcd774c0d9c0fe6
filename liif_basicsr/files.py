"""Write files completely or not at all."""
from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from liif_basicsr.errors import LIIFError, suggest


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Yield a temporary file that replaces `path` when the context ends without an error, and is deleted otherwise.

    Raises:
        LIIFError: the folder is not writable, or the disk is full. An existing file is left unchanged.
    """
    partial = None
    try:
        with tempfile.NamedTemporaryFile("w+b", dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
            partial = file.name
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):  # exFAT and CIFS refuse chmod; their files have fixed permissions
            _set_default_mode(partial)
        os.replace(partial, path)
    except OSError as error:
        raise LIIFError(f"cannot be written: {error.strerror or error}") from None
    finally:
        if partial is not None and os.path.exists(partial):
            os.unlink(partial)


def write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all.

    Raises:
        LIIFError: the file cannot be written. An existing file is left unchanged.
    """
    try:
        with atomic_write(path) as file:
            file.write(content)
    except LIIFError as error:
        raise LIIFError(f"{path}: {error}") from None


def check_output(path: Path, suffixes: Iterable[str]) -> None:
    """Check before a long run that a file can be written, and create its folder.

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


def _set_default_mode(path: str) -> None:
    """Set the permissions of an ordinary new file, because temporary files are private to their owner."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)
