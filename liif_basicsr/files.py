"""Write files completely or not at all."""
from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from liif_basicsr.errors import LIIFError, errors_about, suggest


@contextmanager
def atomic_write(path: Path, overwrite: bool = True) -> Iterator[IO[bytes]]:
    """Yield a temporary file that replaces `path` when the context ends without an error, and is deleted otherwise.

    Raises:
        LIIFError: the folder is not writable, the disk is full, or `path` exists at the end and `overwrite` is not set.
            An existing file is left unchanged.
    """
    partial = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        with open(partial, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not overwrite and path.exists():  # the work may have taken hours
            raise LIIFError("was made by another program in the meantime; choose another output, or pass --overwrite")
        os.replace(partial, path)
    except OSError as error:
        raise LIIFError(f"cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            partial.unlink()


def write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all.

    Raises:
        LIIFError: the file cannot be written. An existing file is left unchanged.
    """
    with errors_about(path), atomic_write(path) as file:
        file.write(content)


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
