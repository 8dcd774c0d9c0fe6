"""Writers of an LMDB in BasicSR's layout and of decoded pixels. A store appears under its name only when complete."""
from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from os import fsync
from pathlib import Path

import lmdb

from liif_basicsr.errors import LIIFError


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, TARGET.partial, which is renamed to `target` when the context ends without an error.

    After an error it is removed, as is, at the start, the one that a killed run has left.

    Raises:
        LIIFError: the disk is full, or the target cannot be written.
    """
    folder = target.with_name(target.name + ".partial")
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        yield folder
        folder.rename(target)
    except (OSError, lmdb.Error) as error:
        raise LIIFError(f"{target} cannot be written: {error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class LmdbFile:
    """A new LMDB in a folder; it grows as needed."""

    def __init__(self, folder: Path) -> None:
        self.env = lmdb.open(str(folder), map_size=2**28, sync=False)

    def write(self, key: str, content: bytes) -> None:
        """Add one entry."""
        try:
            with self.env.begin(write=True) as transaction:
                transaction.put(key.encode(), content)
        except lmdb.MapFullError:
            self.env.set_mapsize(2 * self.env.info()["map_size"])
            self.write(key, content)

    def close(self) -> None:
        """Flush everything to the disk."""
        self.env.sync(True)
        self.env.close()


class PixelFile:
    """A new pixels.bin in a folder: the bytes of all images, one after another."""

    def __init__(self, folder: Path) -> None:
        self.file = open(folder / "pixels.bin", "wb")

    def write(self, key: str, content: bytes) -> None:
        """Add one image."""
        self.file.write(content)

    def close(self) -> None:
        """Flush everything to the disk."""
        with self.file:
            self.file.flush()
            fsync(self.file.fileno())
