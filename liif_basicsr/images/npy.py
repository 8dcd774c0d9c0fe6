"""Read and write NumPy's .npy files, with arrays (H, W) or (H, W, C)."""
from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Literal, NamedTuple

import numpy as np

from liif_basicsr.errors import LIIFError, summarize
from liif_basicsr.images.formats import check_pixel_count
from liif_basicsr.images.loaded import DTYPES, LoadedImage

MAGIC = b"\x93NUMPY"


class NpyHeader(NamedTuple):
    """Header of an array (H, W) or (H, W, C).

    shape: (H, W, C).
    dtype: type of the stored values, with their byte order.
    order: memory order of the stored values, C or F as in NumPy.
    start: offset of the values in the file, in bytes.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    order: Literal["C", "F"]
    start: int


def read_npy(file: IO[bytes]) -> LoadedImage:
    """Read an array as an image. Three bands are assumed to be red, green and blue. No band is opacity.

    Raises:
        LIIFError: see `read_npy_header`, or the type is not in DTYPES.
    """
    header = read_npy_header(file)
    if header.dtype.name not in DTYPES:
        raise _unsupported(header.dtype)
    return LoadedImage(read_npy_values(file, header), rgb=header.shape[2] == 3, alpha=False)


def read_npy_header(file: IO[bytes]) -> NpyHeader:
    """Read the header of an array of integers or floats.

    Raises:
        LIIFError: the file is corrupt, cut short or too large, or the shape or type of the array is not supported.
    """
    try:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, columns_first, dtype = read_header[version](file)
    except Exception as error:  # NumPy parses the header as Python source, so any error may occur
        raise LIIFError(f"is corrupt ({summarize(error)}); get another copy") from None
    if dtype.kind not in "uif":
        raise _unsupported(dtype)
    if len(shape) not in (2, 3) or 0 in shape:
        raise LIIFError(f"has shape {shape}; expected (height, width) or (height, width, bands)")
    check_pixel_count(shape[0] * shape[1])
    start = file.tell()
    length = file.seek(0, 2) - start
    if length != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise LIIFError(f"is corrupt ({length} bytes for an array {shape} of {dtype.name}); get another copy")
    height, width, bands = (*shape, 1)[:3]
    return NpyHeader((height, width, bands), dtype, "F" if columns_first else "C", start)


def read_npy_values(file: IO[bytes], header: NpyHeader) -> np.ndarray:
    """Read the values of an array as (H, W, C), in the machine's byte order."""
    file.seek(header.start)
    values = np.frombuffer(file.read(), header.dtype).reshape(header.shape, order=header.order)
    return np.ascontiguousarray(values, header.dtype.newbyteorder("="))


def _unsupported(dtype: np.dtype) -> LIIFError:
    found, known = dtype.newbyteorder("="), ", ".join(DTYPES[:5])
    return LIIFError(f"has {found} values, which are not supported; convert them to one of {known}")


def write_npy(
    file: IO[bytes], strips: Iterator[np.ndarray], shape: tuple[int, int, int], source: LoadedImage
) -> None:
    """Write an image of `shape` (H, W, C) strip by strip as an array (H, W, C), or (H, W) for a single band."""
    kept = shape if shape[2] > 1 else shape[:2]
    header = {"descr": np.lib.format.dtype_to_descr(source.dtype), "fortran_order": False, "shape": kept}
    np.lib.format.write_array_header_1_0(file, header)
    for strip in strips:
        file.write(np.ascontiguousarray(strip).tobytes())
