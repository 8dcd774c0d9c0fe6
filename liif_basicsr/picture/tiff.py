"""TIFF files written in tiles as they are made; BigTIFF where they may pass 4 GiB."""
from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import numpy as np
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from liif_basicsr.picture.reading import EXIF_IFD, GPS_IFD

TILE = 256
BIG = 1 << 31  # bytes of pixels; compression seldom makes them more, and never twice as many
TYPE_ASCII, TYPE_LONG = 2, 4


def write_tiff(
    file: IO[bytes], strips: Iterator[np.ndarray], shape: tuple[int, int, int], dtype: np.dtype,
    icc: bytes | None, exif: Image.Exif,
) -> None:  # fmt: skip
    """Write strips (TILE rows, the last one fewer, W, C), that together are `shape` (H, W, C), as they come."""
    channels = shape[2]
    big = shape[0] * shape[1] * channels * dtype.itemsize > BIG
    tags = [(tag, TYPE_ASCII, 0, exif[tag], True) for tag in exif if isinstance(exif[tag], str)]
    pointers = [tag for tag in (EXIF_IFD, GPS_IFD) if tag in exif]
    tags += [(tag, TYPE_LONG, 1, 0, True) for tag in pointers]
    tifffile.imwrite(
        file,
        _tiles(strips, channels),
        shape=shape if channels > 1 else shape[:2],
        dtype=dtype,
        tile=(TILE, TILE),
        bigtiff=big,
        byteorder="<",
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        predictor=True,
        iccprofile=icc,
        extratags=tags,
        metadata=None,
        software=False,
    )
    _append_directories(file, {tag: exif.get_ifd(tag) for tag in pointers}, big)


def _tiles(strips: Iterator[np.ndarray], channels: int) -> Iterator[np.ndarray]:
    """Whole tiles, row by row; what lies beyond the picture repeats its border, which costs least."""
    for strip in strips:
        rows, width, _ = strip.shape
        padded = np.pad(strip, ((0, TILE - rows), (0, -width % TILE), (0, 0)), mode="edge")
        for left in range(0, width, TILE):
            tile = padded[:, left : left + TILE]
            yield np.ascontiguousarray(tile if channels > 1 else tile[..., 0])


def _append_directories(file: IO[bytes], directories: dict[int, dict], big: bool) -> None:
    """EXIF lies in directories of its own: put them at the end, and their places where 0 was written."""
    head = b"II\x2b\x00\x08\x00\x00\x00" if big else b"II\x2a\x00\x08\x00\x00\x00"
    for tag, values in directories.items():
        directory = ImageFileDirectory_v2(head)
        for key, value in values.items():
            if not isinstance(value, dict):  # a directory within, of a camera's maker: it cannot be moved
                directory[key] = value
        place = file.seek(0, 2)
        place += file.write(b"\0" * (place % 2))
        file.write(directory.tobytes(place))
        file.seek(0)
        with tifffile.TiffFile(file) as tiff:
            tiff.pages.first.tags[tag].overwrite(place)
