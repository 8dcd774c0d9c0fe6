"""NumPy's .npy files: arrays (H, W) or (H, W, C)."""
from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import numpy as np

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.formats import check_pixel_count
from liif_basicsr.images.loaded import DTYPES, LoadedImage

MAGIC = b"\x93NUMPY"


def read_npy(file: IO[bytes]) -> LoadedImage:
    """Read an array. Three bands are taken for red, green and blue; no band is opacity.

    Raises:
        LIIFError: the file is corrupt or cut short, or the array has another shape or an unsupported type.
    """
    try:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, columns_first, dtype = read_header[version](file)
    except (ValueError, KeyError, OSError) as error:
        raise LIIFError(f"is corrupt ({str(error).splitlines()[0][:120]}); get another copy") from None
    if dtype.name not in DTYPES:
        raise LIIFError(f"has {dtype.name} values, which are not supported; convert it to {', '.join(DTYPES[:5])}")
    if len(shape) not in (2, 3) or 0 in shape:
        raise LIIFError(f"has shape {shape}; expected (height, width) or (height, width, bands)")
    check_pixel_count(shape[0] * shape[1])
    content = file.read()
    if len(content) != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise LIIFError(f"is corrupt ({len(content)} bytes for an array {shape} of {dtype.name}); get another copy")
    values = np.frombuffer(content, dtype).reshape(shape, order="F" if columns_first else "C")
    pixels = np.ascontiguousarray(values.reshape(*shape[:2], -1), dtype.newbyteorder("="))
    return LoadedImage(pixels, rgb=pixels.shape[2] == 3, alpha=False)


def write_npy(
    file: IO[bytes], strips: Iterator[np.ndarray], shape: tuple[int, int, int], source: LoadedImage
) -> None:
    """Write an image of `shape` (H, W, C) strip by strip as an array (H, W, C), or (H, W) for a single band."""
    kept = shape if shape[2] > 1 else shape[:2]
    header = {"descr": np.lib.format.dtype_to_descr(source.dtype), "fortran_order": False, "shape": kept}
    np.lib.format.write_array_header_1_0(file, header)
    for strip in strips:
        file.write(np.ascontiguousarray(strip).tobytes())
