"""A crop of a PNG without decoding all of it."""
from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB8 = (8, 2, 0, 0, 0)  # bit depth, colour type, compression, filter method, not interlaced
UP = 2


def crop_png(
    content: bytes, whole: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> np.ndarray | None:
    """Decode part of a PNG whose rows are stored as differences to the row above ('up'), as prepare_data writes them.

    Rows below the crop stay compressed, and columns beside it are not summed up: half of the work of a whole one.

    Args:
        content: the file's bytes.
        whole: (H, W) of the image.
        corner, size: (top, left) and (h, w) of the crop, inside the image.

    Returns:
        uint8 array (h, w, 3), RGB; None of any other or corrupt file, which is for `decode` to read or to refuse.
    """
    if content[:8] != SIGNATURE or content[16:29] != struct.pack(">II5B", whole[1], whole[0], *RGB8):
        return None
    (top, left), (height, width) = corner, size
    stored = _inflate(content, (top + height) * (1 + 3 * whole[1]))
    if stored is None:
        return None
    rows = stored.reshape(top + height, -1)  # a filter's number, then 3 bytes a pixel
    if (rows[:, 0] != UP).any():
        return None
    columns = rows[:, 1 + 3 * left : 1 + 3 * (left + width)]
    return np.add.accumulate(columns, axis=0, dtype=np.uint8)[top:].reshape(height, width, 3)


def _inflate(content: bytes, count: int) -> np.ndarray | None:
    """The first `count` bytes of the rows; None where they are damaged or not stored as differences."""
    stream, parts, position = zlib.decompressobj(), list[bytes](), len(SIGNATURE)
    try:
        while count > 0:
            length, kind = struct.unpack_from(">I4s", content, position)
            if kind == b"IDAT":
                body = memoryview(content)[position + 8 : position + 8 + length]
                if struct.unpack_from(">I", content, position + 8 + length)[0] != zlib.crc32(body, zlib.crc32(kind)):
                    return None
                parts.append(stream.decompress(body, count))
                count -= len(parts[-1])
                if parts[0][:1] not in (b"", bytes([UP])):
                    return None
            position += 12 + length
    except (struct.error, zlib.error):
        return None
    return np.frombuffer(b"".join(parts), np.uint8)
