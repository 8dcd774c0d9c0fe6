"""Where images come from: a folder or an LMDB, through BasicSR's file client, or decoded pixels.

Opening a source checks all that can be known without decoding. File handles are opened at first use, once per
process, and are not part of the source, so that it can be pickled for workers.
"""
from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cache
from os import path as osp
from typing import Any

import lmdb
import numpy as np
from basicsr.utils import FileClient

from liif_basicsr.data.decode import decode, size_of
from liif_basicsr.data.known import how_to_get
from liif_basicsr.data.png import crop_png
from liif_basicsr.data.sampling import crop
from liif_basicsr.errors import LIIFError
from liif_basicsr.images.formats import SUFFIXES

# 'name.png (480,480,3) 1', as BasicSR writes it; the size and all after it may be missing
META_LINE = re.compile(r"(?P<name>.+?)(?:\s+\((?P<h>\d+),\s*(?P<w>\d+)(?:,\s*\d+)?\).*)?")


class ImageSource:
    """A sequence of images.

    Attributes:
        root: the folder, LMDB or pixel file.
        names: the images' names in it.
        sizes: (H, W) of those whose size the meta file gives; checked against what is read.
    """

    def __init__(self, root: str, names: Sequence[str], sizes: Mapping[str, tuple[int, int]]) -> None:
        if not names:
            raise LIIFError(f"there are no images in {root}")
        self.root, self.names, self.sizes = root, list(names), dict(sizes)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        """The name of an image in messages and results."""
        return osp.join(self.root, self.names[index])

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of an image; does not decode it."""
        name = self.names[index]
        if name not in self.sizes:
            self.sizes[name] = size_of(self.path(index))
        return self.sizes[name]

    def read(self, index: int) -> np.ndarray:
        """The pixels of an image: uint8 (H, W, 3), RGB, read-only.

        Raises:
            LIIFError: it is missing, corrupt, or of another size than the meta file says.
        """
        return self.checked(index, self._read(index))

    def crop(self, index: int, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """The part of an image that starts at `corner` (top, left): a contiguous uint8 array of `size` (h, w, 3)."""
        return crop(self.read(index), corner, size)

    def checked(self, index: int, image: np.ndarray) -> np.ndarray:
        """`image`; raises LIIFError unless it has the size that the meta file gives."""
        expected = self.sizes.get(self.names[index])
        if expected not in (None, image.shape[:2]):
            raise LIIFError(f"{self.path(index)} is {image.shape[:2]}, its meta file says {expected}; make that again")
        return image

    def selected(self, names: Sequence[str], whose: str) -> ImageSource:
        """The same source with only `names`, in that order; `whose` is what lists them, for messages."""
        known = set(self.names)
        for name in names:
            if name not in known:
                raise LIIFError(f"{whose} asks for {name}, which is not in {self.root}")
        chosen = copy(self)
        chosen.names = list(names)
        return chosen

    def _read(self, index: int) -> np.ndarray:
        raise NotImplementedError


class EncodedSource(ImageSource):
    """Images that are stored as image files."""

    def content(self, index: int) -> bytes:
        """The bytes of an image file."""
        raise NotImplementedError

    def _read(self, index: int) -> np.ndarray:
        return decode(self.content(index), self.path(index))


class DiskSource(EncodedSource):
    """The image files of a folder, sorted; other files and subfolders are ignored."""

    def __init__(self, root: str) -> None:
        names = sorted(e.name for e in os.scandir(root) if e.name.lower().endswith(SUFFIXES) and e.name[0] != ".")
        super().__init__(root, names, {})

    def content(self, index: int) -> bytes:
        try:
            return _client("disk").get(self.path(index))
        except OSError as error:
            raise LIIFError(f"{self.path(index)} cannot be read: {error.strerror}") from None


class LmdbSource(EncodedSource):
    """The images of an LMDB in BasicSR's layout: data.mdb, and meta_info.txt, which lists them."""

    def __init__(self, root: str) -> None:
        names, sizes = read_meta(osp.join(root, "meta_info.txt"), suffix=False)
        super().__init__(root, names, sizes)
        keys = _lmdb_keys(osp.realpath(root))
        for name in names:
            if name not in keys:
                raise LIIFError(f"{root}: meta_info.txt names {name!r}, which the LMDB does not hold; make it again")

    def content(self, index: int) -> bytes:
        content = _client("lmdb", osp.realpath(self.root)).get(self.names[index])
        if content is None:
            raise LIIFError(f"{self.root} no longer holds {self.names[index]!r}; make it again")
        return content

    def crop(self, index: int, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """As `ImageSource.crop`, decoding only what the crop needs of a PNG that `prepare_data.py` made."""
        content = self.content(index)
        part = crop_png(content, self.size(index), corner, size)
        if part is None:
            part = crop(self.checked(index, decode(content, self.path(index))), corner, size)
        return part


class PixelSource(ImageSource):
    """Decoded images one after another in a memory-mapped file, of which a crop reads only its own pages.

    `scripts/prepare_data.py --pixels` makes it: pixels.bin holds uint8 RGB, meta_info.txt the names and sizes.
    """

    def __init__(self, root: str) -> None:
        names, sizes = read_meta(osp.join(root, "meta_info.txt"), suffix=False)
        super().__init__(root, names, sizes)
        if len(sizes) < len(names):
            raise LIIFError(f"{root}: meta_info.txt does not give the size of each image; make it again")
        ends = np.cumsum([sizes[name][0] * sizes[name][1] * 3 for name in names])
        self.starts = dict(zip(names, [0, *ends.tolist()], strict=False))
        data = osp.join(root, "pixels.bin")
        if not osp.isfile(data) or osp.getsize(data) != ends[-1]:
            raise LIIFError(f"{data} is missing or cut short: meta_info.txt asks for {ends[-1]} bytes; make it again")

    def _read(self, index: int) -> np.ndarray:
        name = self.names[index]
        (height, width), start = self.sizes[name], self.starts[name]
        return _pixels(osp.realpath(self.root))[start : start + height * width * 3].reshape(height, width, 3)


KINDS: dict[str, Callable[[str], ImageSource]] = {"disk": DiskSource, "lmdb": LmdbSource, "pixels": PixelSource}


def open_source(root: str, kind: str, meta_info_file: str | None = None) -> ImageSource:
    """Open a folder (`disk`), an `lmdb` or `pixels`; a meta file, if given, selects its images.

    Raises:
        LIIFError: it does not exist, is empty or corrupt, or lacks what the meta file names.
    """
    if not osp.isdir(root):
        raise LIIFError(f"{root} does not exist; {how_to_get(root)}")
    source = KINDS[kind](root)
    if meta_info_file is not None:
        names, sizes = read_meta(meta_info_file, suffix=kind == "disk")
        source = source.selected(names, meta_info_file)
        source.sizes |= sizes
    return source


def read_meta(path: str, suffix: bool) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """Read a meta file of BasicSR: one line for each image, its name first.

    Args:
        suffix: keep the suffix of names; the keys of an LMDB have none.

    Returns:
        The names, and (H, W) where the line gives it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise LIIFError(f"{path} cannot be read ({error}); scripts/prepare_data.py makes it with an LMDB") from None
    names, sizes = [], {}
    for match in filter(None, map(META_LINE.fullmatch, lines)):  # any line but an empty one matches
        name = match["name"] if suffix else osp.splitext(match["name"])[0]
        names.append(name)
        if match["h"]:
            sizes[name] = int(match["h"]), int(match["w"])
    return names, sizes


@cache
def _client(kind: str, root: str | None = None) -> Any:
    """BasicSR's file client, one per process since an LMDB cannot be opened twice. A fork may keep using the
    inherited one, which is read-only and takes no lock."""
    try:
        return FileClient(kind) if root is None else FileClient(kind, db_paths=root)
    except lmdb.Error as error:
        raise LIIFError(f"{root} cannot be opened: {error}") from None


@cache
def _pixels(root: str) -> np.ndarray:
    return np.asarray(np.memmap(osp.join(root, "pixels.bin"), np.uint8, "r"))


@cache
def _lmdb_keys(root: str) -> frozenset[str]:
    """All keys of an LMDB; checks first that it is whole, since reading beyond the end of one kills the process."""
    data = osp.join(root, "data.mdb")
    if not osp.isfile(data):
        raise LIIFError(f"{root} is not an LMDB: it has no data.mdb; scripts/prepare_data.py makes one")
    try:
        with lmdb.open(root, readonly=True, lock=False) as env:
            if osp.getsize(data) < (env.info()["last_pgno"] + 1) * env.stat()["psize"]:
                raise LIIFError(f"{data} is cut short; make it again")
            with env.begin() as transaction:
                return frozenset(key.decode() for key in transaction.cursor().iternext(values=False))
    except (lmdb.Error, UnicodeDecodeError) as error:
        raise LIIFError(f"{data} is damaged ({error}); make it again") from None
