"""Write PNG files strip by strip, also with 16 bits in several channels, which Pillow cannot."""
from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import IO

import numpy as np

MAGIC = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG's colour type
FILTER_UP = 2  # each byte minus the one above: compresses photographs well, for one subtraction


def write_png(
    file: IO[bytes], strips: Iterator[np.ndarray], shape: tuple[int, int, int], dtype: np.dtype,
    icc: bytes | None, exif: bytes,
) -> None:  # fmt: skip
    """Write an image of `shape` (H, W, C) from its strips (rows, W, C) of uint8 or uint16, one at a time.

    Source: PNG specification, third edition, sections 5, 9 and 11.
    """
    height, width, channels = shape
    file.write(MAGIC)
    header = struct.pack(">IIBBBBB", width, height, 8 * dtype.itemsize, COLOUR_TYPES[channels], 0, 0, 0)
    _chunk(file, b"IHDR", header)
    if icc:
        _chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
    if exif:
        _chunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    compressor = zlib.compressobj()
    above: np.ndarray = np.zeros((1, width * channels * dtype.itemsize), np.uint8)
    for strip in strips:
        rows = strip.astype(dtype.newbyteorder(">")).reshape(len(strip), -1).view(np.uint8)
        filtered = rows - np.concatenate([above, rows[:-1]])
        above = rows[-1:]
        lines = np.concatenate([np.full((len(rows), 1), FILTER_UP, np.uint8), filtered], axis=1)
        _chunk(file, b"IDAT", compressor.compress(lines.data))
    _chunk(file, b"IDAT", compressor.flush())
    _chunk(file, b"IEND", b"")


def _chunk(file: IO[bytes], kind: bytes, content: bytes) -> None:
    if content or kind == b"IEND":
        file.write(struct.pack(">I", len(content)) + kind + content)
        file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))
