"""Write TIFF files tile by tile as the image is rendered; BigTIFF where the file may exceed 4 GiB."""
from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import tifffile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from liif_basicsr.images.reading import EXIF_IFD, GPS_IFD

TILE = 256
BIG = 1 << 31  # bytes of pixels; compression rarely enlarges them, and never to twice as many
TYPE_ASCII, TYPE_LONG, TYPE_LONG8 = 2, 4, 16


def write_tiff(
    file: IO[bytes], strips: Iterator[np.ndarray], shape: tuple[int, int, int], dtype: np.dtype,
    icc: bytes | None, exif: dict[int, Any],
) -> None:  # fmt: skip
    """Write an image of `shape` (H, W, C) from its strips (TILE rows or fewer in the last, W, C), one at a time."""
    channels = shape[2]
    big = shape[0] * shape[1] * channels * dtype.itemsize > BIG
    tags = [(tag, TYPE_ASCII, 0, exif[tag], True) for tag in exif if isinstance(exif[tag], str)]
    pointers = [tag for tag in (EXIF_IFD, GPS_IFD) if tag in exif]
    # tifffile cannot write pointers to subdirectories: placeholders with the tag number below are patched afterwards.
    tags += [(tag - 1, TYPE_LONG8 if big else TYPE_LONG, 1, 0, True) for tag in pointers]
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
    _append_directories(file, {tag: exif[tag] for tag in pointers}, big)


def _tiles(strips: Iterator[np.ndarray], channels: int) -> Iterator[np.ndarray]:
    """Whole tiles, row by row; tiles that extend beyond the image repeat its border, which compresses best."""
    for strip in strips:
        rows, width, _ = strip.shape
        padded = np.pad(strip, ((0, TILE - rows), (0, -width % TILE), (0, 0)), mode="edge")
        for left in range(0, width, TILE):
            tile = padded[:, left : left + TILE]
            yield np.ascontiguousarray(tile if channels > 1 else tile[..., 0])


def _append_directories(file: IO[bytes], directories: dict[int, dict], big: bool) -> None:
    """Append the EXIF subdirectories and turn the placeholders into pointers to them."""
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) if big else struct.pack("<2sHI", b"II", 42, 8)
    for tag, values in directories.items():
        directory = ImageFileDirectory_v2(head)
        for key, value in values.items():
            if not isinstance(value, dict):  # a maker note's own directory, which cannot be moved
                directory[key] = value
        place = file.seek(0, 2)
        place += file.write(b"\0" * (place % 2))
        file.write(directory.tobytes(place))
        file.seek(0)
        with tifffile.TiffFile(file) as tiff:
            held = tiff.pages.first.tags[tag - 1]
        file.seek(held.offset)
        file.write(struct.pack("<H", tag))
        file.seek(held.valueoffset)
        file.write(struct.pack("<Q" if big else "<I", place))
