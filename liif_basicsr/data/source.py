"""Read images from a folder or an LMDB through BasicSR's file client, or from a file of decoded pixels.

Opening a source checks everything that can be checked without decoding images. File handles are opened at first use,
once per process. They are not stored in the source object, so it can be pickled for data workers.
"""
from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from functools import cache
from io import BytesIO
from os import path as osp
from typing import IO, Any

import lmdb
import numpy as np
from basicsr.utils import FileClient

from liif_basicsr.data.decode import RANGES, Header, decode, naming, read_header, to_unit
from liif_basicsr.data.download_hints import PREPARE, download_hint, no_folder
from liif_basicsr.errors import LIIFError
from liif_basicsr.images.suffixes import SUFFIXES, VALUE_SUFFIXES
from liif_basicsr.images.values import is_within

logger = logging.getLogger("basicsr")

DATA_SUFFIXES = (*SUFFIXES, *VALUE_SUFFIXES)
# A `value_range` that accepts any finite numbers.
ANY_RANGE = (-np.inf, np.inf)

# File suffixes of photographs that `upscale` reads but the datasets do not.
UNREAD_PHOTOS = (".avif", ".heic", ".heif")
# A line of a meta file as BasicSR writes it: 'name.png (480,480,3) 1'. Everything after the name is optional.
META_LINE = re.compile(r"(?P<name>.+?)(?:\s+\((?P<h>\d+),\s*(?P<w>\d+)(?:,\s*\d+)?\).*)?")


class ImageSource:
    """A sequence of image files.

    Attributes:
        root: path of the folder or LMDB.
        names: names of the images.
        sizes: (H, W) by name, for the images whose size is already known.
        channels: number of channels of every image.
        value_range: the two values that are mapped to 0 and 1. None means the whole range of uint8 or uint16.
    """

    channels = 3
    value_range: tuple[float, float] | None = None

    def __init__(self, root: str, names: Sequence[str], sizes: Mapping[str, tuple[int, int]]) -> None:
        self.root, self.names, self.sizes = root, list(names), dict(sizes)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        """Return the path that names an image in messages and results."""
        return osp.join(self.root, self.names[index])

    def content(self, index: int) -> bytes:
        """Return the bytes of an image file."""
        raise NotImplementedError

    def size(self, index: int) -> tuple[int, int]:
        """Return (H, W) of an image without decoding it."""
        name = self.names[index]
        if name not in self.sizes:
            self.sizes[name] = self.header(index).size
        return self.sizes[name]

    def open(self, index: int) -> IO[bytes]:
        """Open an image file."""
        return BytesIO(self.content(index))

    def header(self, index: int) -> Header:
        """Return the size and the data type of an image without decoding it.

        Raises:
            LIIFError: the header is corrupt, the number of channels is not `channels`, or the data type needs a
                `value_range`.
        """
        with self.open(index) as file:
            header = read_header(file, self.path(index), self.channels)
        self._check_type(header.dtype, index)
        return header

    def read(self, index: int) -> np.ndarray:
        """Decode an image.

        Returns:
            Array (H, W, channels) with the file's data type. Do not modify it.

        Raises:
            LIIFError: the image is missing or corrupt, its number of channels is not `channels`, it contains NaN or
                values outside `value_range`, or its size differs from the one in the meta file.
        """
        image = decode(self.content(index), self.path(index), self.channels)
        expected = self.sizes.get(self.names[index])
        if expected not in (None, image.shape[:2]):
            found = f"is {image.shape[:2]}, but its meta file says {expected}"
            raise LIIFError(f"{self.path(index)} {found}; correct the meta file")
        self._check_type(image.dtype, index)
        if self.value_range is not None:
            self._check_values(image, *self.value_range, index)
        return image

    def to_unit(self, image: np.ndarray) -> np.ndarray:
        """Map an image, or a part of it, to [0, 1]; see `decode.to_unit`."""
        return to_unit(image, self.value_range)

    def _check_type(self, dtype: np.dtype, index: int) -> None:
        if self.value_range is None and dtype not in RANGES:
            raise LIIFError(f"{self.path(index)} has {dtype} values, whose range is unknown; set value_range: "
                            "[low, high] to the values that become 0 and 1")  # fmt: skip

    def _check_values(self, image: np.ndarray, low: float, high: float, index: int) -> None:
        if image.dtype.kind in "ui" and np.isinf(high):
            return
        if is_within(image, (low, high)):
            return
        bad = np.argwhere(~np.isfinite(image))
        if len(bad):
            row, column, channel = bad[0]
            raise LIIFError(f"{self.path(index)} contains {image[row, column, channel]} at row {row}, column {column}; "
                            "fill missing values or remove the file")  # fmt: skip
        raise LIIFError(f"{self.path(index)} has values from {image.min():g} to {image.max():g}, outside "
                        f"value_range: [{low:g}, {high:g}]; widen value_range or clip the values")  # fmt: skip

    def has(self, name: str) -> bool:
        """Return whether the source contains an image with this name."""
        return name in self.names

    def selected(self, names: Sequence[str], origin: str) -> ImageSource:
        """Return a copy of the source that contains only the images `names`, in this order.

        Args:
            names: names of images in the source.
            origin: the file or folder that requires these names; error messages start with it.

        Raises:
            LIIFError: a name is not in the source.
        """
        known = set(self.names)
        for name in names:
            if name not in known and not self.has(name):
                raise LIIFError(f"{origin} requires {name}, which is not in {self.root}; add the image")
        chosen = copy(self)
        chosen.names = list(names)
        return chosen


class DiskSource(ImageSource):
    """The image files of a folder, sorted by name. Other files, hidden files and subfolders are ignored.

    The option `meta_info_file` or `split_file` may also name files in subfolders.
    """

    def __init__(self, root: str) -> None:
        files = sorted(entry.name for entry in os.scandir(root) if entry.name[0] != ".")
        names = [name for name in files if name.lower().endswith(DATA_SUFFIXES)]
        photos = [name for name in files if name.lower().endswith(UNREAD_PHOTOS)]
        if photos:
            found = f"{len(photos)} AVIF or HEIC files, such as {photos[0]}, are not used"
            logger.warning(f"{root}: {found}; convert them to PNG")
        super().__init__(root, names, {})

    def has(self, name: str) -> bool:
        """Return whether the folder contains this image file. The name may start with a subfolder."""
        return name.lower().endswith(DATA_SUFFIXES) and osp.isfile(osp.join(self.root, name))

    def open(self, index: int) -> IO[bytes]:
        with naming(self.path(index)):
            return open(self.path(index), "rb")

    def content(self, index: int) -> bytes:
        with naming(self.path(index)):
            return _client("disk").get(self.path(index))


class LmdbSource(ImageSource):
    """The images of an LMDB in BasicSR's layout: data.mdb stores the files, and meta_info.txt lists their names."""

    def __init__(self, root: str) -> None:
        keys = _lmdb_keys(osp.realpath(root))
        names, sizes = read_meta(osp.join(root, "meta_info.txt"), suffix=False, known=keys)
        super().__init__(root, names, sizes)
        for name in names:
            if name not in keys:
                raise LIIFError(f"{root}: meta_info.txt lists {name!r}, which is not in the LMDB; make the LMDB again")

    def content(self, index: int) -> bytes:
        content = _client("lmdb", osp.realpath(self.root)).get(self.names[index])
        if content is None:
            raise LIIFError(f"{self.root} no longer contains {self.names[index]!r}; make the LMDB again")
        return content


class PixelSource(ImageSource):
    """Decoded images in a memory-mapped file. A crop reads only the parts of the file that it needs.

    `prepare` with `--pixels` makes a folder with two files: pixels.bin stores the pixels of all images as uint8 RGB,
    and meta_info.txt lists the images' names and sizes.
    """

    def __init__(self, root: str) -> None:
        names, sizes = read_meta(osp.join(root, "meta_info.txt"), suffix=False)
        super().__init__(root, names, sizes)
        if len(sizes) < len(names):
            raise LIIFError(f"{root}: meta_info.txt lacks the size of an image; make the folder again")
        ends = np.cumsum([0, *(sizes[name][0] * sizes[name][1] * 3 for name in names)])
        self.starts = dict(zip(names, ends.tolist(), strict=False))
        data = osp.join(root, "pixels.bin")
        if not osp.isfile(data) or osp.getsize(data) != ends[-1]:
            raise LIIFError(f"{data} is missing or its size is not {ends[-1]} bytes; make the folder again")

    def header(self, index: int) -> Header:
        return Header(self.sizes[self.names[index]], np.dtype(np.uint8))

    def read(self, index: int) -> np.ndarray:
        """Return a read-only view of an image: uint8 (H, W, 3), RGB."""
        name = self.names[index]
        (height, width), start = self.sizes[name], self.starts[name]
        return _pixels(osp.realpath(self.root))[start : start + height * width * 3].reshape(height, width, 3)


KINDS: dict[str, Callable[[str], ImageSource]] = {"disk": DiskSource, "lmdb": LmdbSource, "pixels": PixelSource}


def open_source(
    root: str,
    kind: str,
    meta_info_file: str | None = None,
    channels: int = 3,
    value_range: tuple[float, float] | None = None,
    by_name: bool = False,
) -> ImageSource:
    """Open a folder of image files, an LMDB, or a folder of decoded pixels.

    Args:
        root: path of the folder or LMDB.
        kind: `disk`, `lmdb` or `pixels`, the type of an `io_backend` block.
        meta_info_file: lists the images to use, in order. None uses all images.
        channels, value_range: see ImageSource. `pixels` supports only 8-bit RGB.
        by_name: whether the caller selects images by name, see `ImageSource.selected`. The folder may then contain
            only subfolders.

    Raises:
        LIIFError: the source does not exist, is empty or corrupt, lacks an image that the meta file lists, or has
            recorded another size for it; or `kind` is `pixels`, and `channels` or `value_range` do not match 8-bit RGB.
    """
    if kind == "pixels" and (channels != 3 or value_range not in (None, ANY_RANGE)):
        option = f"channels is {channels}" if channels != 3 else "value_range is set"
        raise LIIFError(f"{root} contains 8-bit RGB, but {option}; use a folder of images or an LMDB")
    if not osp.isdir(root):
        raise LIIFError(no_folder(root, download_hint(root)))
    source = KINDS[kind](root)
    source.channels, source.value_range = channels, value_range
    if meta_info_file is not None:
        names, sizes = read_meta(meta_info_file, suffix=kind == "disk", known=source.names)
        if not names:
            raise LIIFError(f"{meta_info_file} lists no images; add their names, or remove meta_info_file")
        source = source.selected(names, meta_info_file)
        for name, size in sizes.items():
            if source.sizes.setdefault(name, size) != size:
                found = f"says that {name} is {size}, but in {root} it is {source.sizes[name]}"
                raise LIIFError(f"{meta_info_file} {found}; correct the size or remove it")
    elif not source.names and not by_name:
        raise LIIFError(f"there are no images in {root}; add some, or correct the path")
    return source


def read_meta(
    path: str, suffix: bool, known: Collection[str] = ()
) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """Read a meta file of BasicSR: one line per image, starting with its name.

    As in BasicSR, the name ends at the first space and the rest is a comment. A name may contain spaces if the
    image's size follows or if the name is in `known`. Empty lines and lines that start with '# ' are skipped.

    Args:
        path: the meta file, UTF-8 with or without a byte order mark.
        suffix: whether names keep their suffix. The keys of an LMDB have no suffix.
        known: names of the images in the source.

    Returns:
        The names in order, and (H, W) by name for the images whose line contains their size.

    Raises:
        LIIFError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise LIIFError(f"{path} cannot be read ({error}); `{PREPARE} folder` makes an LMDB with such a file") from None
    names, sizes, known = [], {}, frozenset(known)
    for match in (META_LINE.fullmatch(line) for line in lines if line and not line.startswith("# ")):
        assert match is not None  # every line matches
        full, first = match["name"], match["name"].split()[0]
        full, first = (full, first) if suffix else (osp.splitext(full)[0], osp.splitext(first)[0])
        name = full if match["h"] or full in known else first
        names.append(name)
        if match["h"]:
            sizes[name] = int(match["h"]), int(match["w"])
    return names, sizes


@cache
def _client(kind: str, root: str | None = None) -> Any:
    """Return BasicSR's file client, one per process because a process cannot open an LMDB twice.

    A forked worker can use the client of its parent process, because the client is read-only and takes no lock.
    """
    try:
        return FileClient(kind) if root is None else FileClient(kind, db_paths=root)
    except lmdb.Error as error:
        raise LIIFError(f"{root} cannot be opened: {error}") from None


@cache
def _pixels(root: str) -> np.ndarray:
    return np.asarray(np.memmap(osp.join(root, "pixels.bin"), np.uint8, "r"))


@cache
def _lmdb_keys(root: str) -> frozenset[str]:
    """Return all keys of an LMDB. Check the file's length first: reading beyond its end would kill the process."""
    data = osp.join(root, "data.mdb")
    if not osp.isfile(data):
        raise LIIFError(f"{root} is not an LMDB: it has no data.mdb; make an LMDB with `{PREPARE} folder`")
    try:
        with lmdb.open(root, readonly=True, lock=False) as env:
            if osp.getsize(data) < (env.info()["last_pgno"] + 1) * env.stat()["psize"]:
                raise LIIFError(f"{data} is cut short; make the LMDB again")
            with env.begin() as transaction:
                return frozenset(key.decode() for key in transaction.cursor().iternext(values=False))
    except (lmdb.Error, UnicodeDecodeError) as error:
        raise LIIFError(f"{data} is damaged ({error}); make the LMDB again") from None
