"""A crop of a PNG without decoding all of it."""
from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB8 = (8, 2, 0, 0, 0)  # bit depth, colour type, compression, filter method, not interlaced
UP = 2


def crop_png(
    content: bytes, image_size: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> np.ndarray | None:
    """Decode a crop of a PNG whose rows all have the filter 'up', as those of `prepare_data.py` do.

    Rows below the crop stay compressed, and columns beside it stay filtered: for the crops of training, half the work
    of decoding the image.

    Args:
        content: the file's bytes.
        image_size: (H, W) of the image.
        corner, size: (top, left) and (h, w) of the crop, inside the image.

    Returns:
        uint8 array (h, w, 3), RGB; None for any other or corrupt file, which `decode` then reads or refuses.
    """
    if content[:8] != SIGNATURE or content[16:29] != struct.pack(">II5B", image_size[1], image_size[0], *RGB8):
        return None
    (top, left), (height, width) = corner, size
    filtered = _inflate(content, (top + height) * (1 + 3 * image_size[1]))
    if filtered is None:
        return None
    rows = filtered.reshape(top + height, -1)  # the number of the filter, then 3 bytes per pixel
    if (rows[:, 0] != UP).any():
        return None
    columns = rows[:, 1 + 3 * left : 1 + 3 * (left + width)]
    return np.add.accumulate(columns, axis=0, dtype=np.uint8)[top:].reshape(height, width, 3)


def _inflate(content: bytes, count: int) -> np.ndarray | None:
    """The first `count` bytes of the filtered rows; None where they are corrupt or the first row is not 'up'."""
    stream, parts, position = zlib.decompressobj(), list[bytes](), len(SIGNATURE)
    try:
        while count > 0:
            length, kind = struct.unpack_from(">I4s", content, position)
            if kind == b"IDAT":
                body = memoryview(content)[position + 8 : position + 8 + length]
                if not parts and zlib.decompressobj().decompress(body, 1) != bytes([UP]):
                    return None
                if struct.unpack_from(">I", content, position + 8 + length)[0] != zlib.crc32(body, zlib.crc32(kind)):
                    return None
                parts.append(stream.decompress(body, count))
                count -= len(parts[-1])
            position += 12 + length
    except (struct.error, zlib.error):
        return None
    return np.frombuffer(b"".join(parts), np.uint8)
