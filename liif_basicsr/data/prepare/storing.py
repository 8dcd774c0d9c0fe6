"""Store images as an LMDB of sub-images or as a folder of decoded pixels, and find corrupt images.

A folder is written under a temporary name and renamed when it is complete.
"""
from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from os import fsync
from os import path as osp
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np
from filelock import FileLock, Timeout

from liif_basicsr.data.encode import encode
from liif_basicsr.data.prepare.parallel import parallel_map
from liif_basicsr.data.source import ImageSource, open_source
from liif_basicsr.errors import LIIFError

Piece = tuple[tuple[int, int], bytes]  # (H, W) and the bytes to store


class Settings(NamedTuple):
    """How to store images.

    crop: side of the square sub-images.
    step: distance from the start of one sub-image to the start of the next.
    level: PNG compression level.
    pixels: store decoded pixels of whole images instead of an LMDB of sub-images.
    processes: number of worker processes.
    """

    crop: int = 480
    step: int = 240
    level: int = 1
    pixels: bool = False
    processes: int = 1


def open_any(path: Path, channels: int = 3, value_range: tuple[float, float] | None = None) -> ImageSource:
    """Open a folder of images, an LMDB, or a folder of decoded pixels; see ImageSource."""
    files = {"data.mdb": "lmdb", "pixels.bin": "pixels"}
    kind = next((kind for name, kind in files.items() if (path / name).exists()), "disk")
    return open_source(str(path), kind, None, channels, value_range)


def store(source: ImageSource, target: Path, settings: Settings) -> int:
    """Store all images of a source in the new folder `target`.

    Returns:
        The number of images or sub-images stored.

    Raises:
        LIIFError: an image is corrupt, or the target cannot be written.
    """
    if settings.step > settings.crop:
        steps = f"step {settings.step} is larger than crop {settings.crop}, so pixels between crops would be lost"
        raise LIIFError(f"{steps}; lower step")
    names, lines = keys(source.names), []
    pieces_of: Callable[[int], list[Piece]] = partial(_pixels, source)
    if not settings.pixels:
        pieces_of = partial(cut, source, crop=settings.crop, step=settings.step, level=settings.level)
    results = closing(parallel_map(pieces_of, range(len(source)), settings.processes, target.name))
    with atomic_folder(target) as folder:
        with closing(PixelFile(folder) if settings.pixels else LmdbFile(folder)) as file, results as all_pieces:
            for name, pieces in zip(names, all_pieces, strict=True):
                if isinstance(pieces, LIIFError):
                    raise LIIFError(f"{pieces} (`--check` lists all corrupt images)")
                for number, ((height, width), content) in enumerate(pieces, start=1):
                    key = name if settings.pixels else f"{name}_s{number:03d}"
                    file.write(key, content)
                    lines.append(f"{key}.png ({height},{width},{source.channels}) {settings.level}\n")
        (folder / "meta_info.txt").write_text("".join(lines))
    return len(lines)


def corrupt(source: ImageSource, processes: int) -> list[str]:
    """Return the error messages of all images that cannot be read."""
    results = parallel_map(partial(_check, source), range(len(source)), processes, "checking")
    return [str(error) for error in results if error is not None]


def keys(names: Sequence[str]) -> list[str]:
    """Convert file names to unique keys that BasicSR can read: ASCII characters without dots."""
    taken: dict[str, None] = {}
    for name in names:
        stem = re.sub(r"[^0-9A-Za-z_-]", "_", osp.splitext(name)[0])[:200]
        same = (f"{stem}_{count}" for count in itertools.count(2))
        taken[next(key for key in itertools.chain([stem], same) if key not in taken)] = None
    return list(taken)


def starts(n: int, crop: int, step: int) -> list[int]:
    """Return the positions at which crops start so that together they cover an axis.

    Args:
        n: length of the axis in pixels.
        crop: length of a crop in pixels.
        step: distance between starts; the last crop may start earlier, to end with the axis.
    """
    inside = list(range(0, max(n - crop, 0) + 1, step))
    return inside if inside[-1] + crop >= n else [*inside, n - crop]


def cut(source: ImageSource, index: int, crop: int, step: int, level: int) -> list[Piece]:
    """Cut an image into sub-images, row by row. An axis shorter than `crop` is not cut."""
    image = source.read(index)
    windows = [
        image[top : top + crop, left : left + crop]
        for top in starts(image.shape[0], crop, step)
        for left in starts(image.shape[1], crop, step)
    ]
    return [((window.shape[0], window.shape[1]), encode(window, level)) for window in windows]


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a folder to fill, and rename it to `target` if the context ends without an error.

    The folder is inside TARGET.partial, which contains a lock and is removed at the end, also after an error. A killed
    run leaves TARGET.partial, but the system releases the lock, so the next run can use the folder.

    Raises:
        LIIFError: another run is writing the target, the disk is full, or the target cannot be written.
    """
    partial = target.with_name(target.name + ".partial")
    folder, lock = partial / target.name, FileLock(partial / "lock", timeout=0)
    try:
        partial.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise LIIFError(f"{target} is being written by another run; wait until that run has ended") from None
    except OSError as error:
        raise LIIFError(f"{target} cannot be written: {error}") from None
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        yield folder
        folder.rename(target)
    except (OSError, lmdb.Error) as error:
        raise LIIFError(f"{target} cannot be written: {error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        with suppress(OSError):  # another run may have started
            (partial / "lock").unlink(missing_ok=True)
            partial.rmdir()


class LmdbFile:
    """Writer for a new or existing LMDB, whose size limit grows as needed."""

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
        """Flush to disk and close."""
        self.env.sync(True)
        self.env.close()


class PixelFile:
    """Writer for a new pixels.bin, which stores the bytes of all images one after another."""

    def __init__(self, folder: Path) -> None:
        self.file = open(folder / "pixels.bin", "wb")

    def write(self, key: str, content: bytes) -> None:
        """Append one image."""
        self.file.write(content)

    def close(self) -> None:
        """Flush to disk and close."""
        with self.file:
            self.file.flush()
            fsync(self.file.fileno())


def _pixels(source: ImageSource, index: int) -> list[Piece]:
    image = source.read(index)
    if image.dtype != np.uint8 or image.shape[2] != 3:
        found = f"has {image.shape[2]} channels of {image.dtype}"
        raise LIIFError(f"{source.path(index)} {found}, but --pixels supports only 8-bit RGB; leave out --pixels")
    return [(image.shape[:2], image.tobytes())]


def _check(source: ImageSource, index: int) -> None:
    source.read(index)
