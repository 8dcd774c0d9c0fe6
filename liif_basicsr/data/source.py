"""Where images come from: a folder or an LMDB, through BasicSR's file client, or decoded pixels.

Everything that can be known without decoding is checked when a source is opened. Handles are opened when first
used, once in a process, and are not part of the source, which can so be sent to workers of any kind.
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
from liif_basicsr.utils.errors import LIIFError
from liif_basicsr.utils.image_files import SUFFIXES

# 'name.png (480,480,3) 1', as BasicSR writes it; the size and what follows may be missing
META_LINE = re.compile(r"(?P<name>.+?)(?:\s+\((?P<h>\d+),\s*(?P<w>\d+)(?:,\s*\d+)?\).*)?")


class ImageSource:
    """A sequence of images.

    Attributes:
        root: the folder, LMDB or pixel file.
        names: what they are called in it.
        sizes: (H, W) of those that its meta file tells; checked against what is read.
    """

    def __init__(self, root: str, names: Sequence[str], sizes: Mapping[str, tuple[int, int]]) -> None:
        if not names:
            raise LIIFError(f"there are no images in {root}")
        self.root, self.names, self.sizes = root, list(names), dict(sizes)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        """How an image is called in messages and results."""
        return osp.join(self.root, self.names[index])

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of an image, without decoding it."""
        name = self.names[index]
        if name not in self.sizes:
            self.sizes[name] = size_of(self.path(index))
        return self.sizes[name]

    def read(self, index: int) -> np.ndarray:
        """The pixels of an image: uint8 (H, W, 3), RGB, not to be written to.

        Raises:
            LIIFError: it is gone, corrupt, or of another size than the meta file says.
        """
        return self.checked(index, self._read(index))

    def crop(self, index: int, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """The part of an image that starts at `corner` (top, left): a contiguous uint8 array of `size` (h, w, 3)."""
        return crop(self.read(index), corner, size)

    def checked(self, index: int, image: np.ndarray) -> np.ndarray:
        """`image`, if it has the size that the meta file tells."""
        told = self.sizes.get(self.names[index])
        if told not in (None, image.shape[:2]):
            raise LIIFError(f"{self.path(index)} is {image.shape[:2]}, its meta file says {told}; make that again")
        return image

    def selected(self, names: Sequence[str], whose: str) -> ImageSource:
        """The same source with `names` alone, in that order; `whose` tells in messages who wants them."""
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
    """Images that are kept as image files."""

    def content(self, index: int) -> bytes:
        """The bytes of an image file."""
        raise NotImplementedError

    def crop(self, index: int, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """As that of ImageSource; of a PNG that prepare_data made, only what is needed is decoded."""
        content = self.content(index)
        part = crop_png(content, self.size(index), corner, size)
        if part is None:
            part = crop(self.checked(index, decode(content, self.path(index))), corner, size)
        return part

    def _read(self, index: int) -> np.ndarray:
        return decode(self.content(index), self.path(index))


class DiskSource(EncodedSource):
    """The image files of a folder, sorted; files of other kinds and folders in it are passed over."""

    def __init__(self, root: str) -> None:
        names = sorted(e.name for e in os.scandir(root) if e.name.lower().endswith(SUFFIXES) and e.name[0] != ".")
        super().__init__(root, names, {})

    def content(self, index: int) -> bytes:
        try:
            return _client("disk").get(self.path(index))
        except OSError as error:
            raise LIIFError(f"{self.path(index)} cannot be read: {error.strerror}") from None


class LmdbSource(EncodedSource):
    """The images of an LMDB in BasicSR's layout: data.mdb, and meta_info.txt that lists them."""

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


class PixelSource(ImageSource):
    """Decoded images one after the other in a file that is memory-mapped, so that a crop costs its pages alone.

    `scripts/prepare_data.py --pixels` makes it: pixels.bin holds uint8 RGB, meta_info.txt the names and sizes.
    """

    def __init__(self, root: str) -> None:
        names, sizes = read_meta(osp.join(root, "meta_info.txt"), suffix=False)
        super().__init__(root, names, sizes)
        if len(sizes) < len(names):
            raise LIIFError(f"{root}: meta_info.txt does not tell the size of each image; make it again")
        ends = np.cumsum([sizes[name][0] * sizes[name][1] * 3 for name in names])
        self.starts = dict(zip(names, [0, *ends.tolist()], strict=False))
        data = osp.join(root, "pixels.bin")
        if not osp.isfile(data) or osp.getsize(data) != ends[-1]:
            raise LIIFError(f"{data} is missing or cut short: meta_info.txt tells of {ends[-1]} bytes; make it again")

    def _read(self, index: int) -> np.ndarray:
        name = self.names[index]
        (height, width), start = self.sizes[name], self.starts[name]
        return _pixels(osp.realpath(self.root))[start : start + height * width * 3].reshape(height, width, 3)


KINDS: dict[str, Callable[[str], ImageSource]] = {"disk": DiskSource, "lmdb": LmdbSource, "pixels": PixelSource}


def open_source(root: str, kind: str, meta_info_file: str | None = None) -> ImageSource:
    """Open a folder (`disk`), an `lmdb` or `pixels`; a meta file, if given, says which of its images to take.

    Raises:
        LIIFError: it does not exist, is empty or damaged, or lacks what the meta file names.
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
    """Read a meta file of BasicSR: a line for each image, its name first.

    Args:
        suffix: whether names keep their '.png'; the keys of an LMDB have none.

    Returns:
        The names, and (H, W) of those lines that tell it.
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
    """BasicSR's file client, one a process: LMDB refuses to be opened twice. A fork may go on with the inherited
    one, since it is read-only and takes no lock."""
    try:
        return FileClient(kind) if root is None else FileClient(kind, db_paths=root)
    except lmdb.Error as error:
        raise LIIFError(f"{root} cannot be opened: {error}") from None


@cache
def _pixels(root: str) -> np.ndarray:
    return np.asarray(np.memmap(osp.join(root, "pixels.bin"), np.uint8, "r"))


@cache
def _lmdb_keys(root: str) -> frozenset[str]:
    """All keys of an LMDB that is whole; reading past the end of one cut short would kill the process."""
    data = osp.join(root, "data.mdb")
    if not osp.isfile(data):
        raise LIIFError(f"{root} is no LMDB: it has no data.mdb; scripts/prepare_data.py makes one")
    try:
        with lmdb.open(root, readonly=True, lock=False) as env:
            if osp.getsize(data) < (env.info()["last_pgno"] + 1) * env.stat()["psize"]:
                raise LIIFError(f"{data} is cut short; make it again")
            with env.begin() as transaction:
                return frozenset(key.decode() for key in transaction.cursor().iternext(values=False))
    except (lmdb.Error, UnicodeDecodeError) as error:
        raise LIIFError(f"{data} is damaged ({error}); make it again") from None
