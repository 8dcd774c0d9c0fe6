"""Numeric images that Pillow does not read: TIFF of any depth and number of bands, NumPy arrays, OpenEXR."""
from __future__ import annotations

from collections.abc import Callable
from typing import IO, NamedTuple

import numpy as np
import tifffile

from liif_basicsr.errors import LIIFError
from liif_basicsr.images import exr, npy
from liif_basicsr.images.formats import check_pixel_count
from liif_basicsr.images.tiff import (
    ASSOCIATED,
    MAGICS,
    MIN_IS_BLACK,
    MIN_IS_WHITE,
    RGB,
    UNASSOCIATED,
    decode_page,
    is_planar,
)


class ValueFile(NamedTuple):
    """An opened numeric image.

    shape: (H, W, C), with every channel that the file holds.
    dtype: an integer or float type, in the byte order of the machine.
    read: decodes the pixels to an array of that shape and type.
    alpha: None, or `associated` or `unassociated` if the last channel is transparency.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    alpha: str | None = None


def open_values(file: IO[bytes]) -> ValueFile | None:
    """Read the header of a file; return None if it is damaged, or if Pillow reads the file without loss.

    Raises:
        LIIFError: its values or its layout are not supported. The message starts with a verb.
    """
    head = file.read(8)
    file.seek(0)
    openers = {**dict.fromkeys(MAGICS, _open_tiff), npy.MAGIC: _open_npy, exr.MAGIC: _open_exr}
    found = next((opener(file) for magic, opener in openers.items() if head.startswith(magic)), None)
    if found is not None:
        check_pixel_count(found.shape[0] * found.shape[1])
    return found


def _open_tiff(file: IO[bytes]) -> ValueFile | None:
    try:
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            several = len(tiff.pages) > 1 and tiff.pages[1].shape == page.shape
            dtype, samples, bits = page.dtype, page.samplesperpixel, page.bitspersample
            kind, extra = page.photometric, page.extrasamples
    except Exception:  # Pillow has a better message
        return None
    finally:
        file.seek(0)
    if several:
        raise LIIFError("has several pages of one size; save it as one page with several bands, or as several files")
    if dtype is None or dtype.kind not in "uif" or bits != 8 * dtype.itemsize:
        if bits > 8 or dtype is not None and dtype.kind not in "ub":
            raise LIIFError(f"has {bits}-bit {dtype or 'unknown'} values, which are not supported; "
                            "save it with 8, 16 or 32 bits")  # fmt: skip
        return None
    colors = 3 if kind == RGB else 1
    alpha = {ASSOCIATED: "associated", UNASSOCIATED: "unassociated"}.get(extra[-1]) if extra else None
    known = kind in (MIN_IS_WHITE, MIN_IS_BLACK, RGB)
    if dtype == np.uint8 and not is_planar(page) and (not known or samples == colors + (alpha is not None)):
        return None
    if not known:
        raise LIIFError(f"has {dtype} values in the colors {getattr(kind, 'name', kind)}; save it as RGB or as bands")

    def read() -> np.ndarray:
        try:
            return decode_page(file, page)
        except LIIFError:
            raise
        except Exception as error:
            raise LIIFError(f"is corrupt ({str(error)[:120]}); get another copy") from None

    return ValueFile((page.imagelength, page.imagewidth, samples), dtype.newbyteorder("="), read, alpha)


def _open_npy(file: IO[bytes]) -> ValueFile:
    header = npy.read_npy_header(file)
    return ValueFile(header.shape, header.dtype.newbyteorder("="), lambda: npy.read_npy_values(file, header))


def _open_exr(file: IO[bytes]) -> ValueFile:
    """Open an OpenEXR image; 16-bit floats become float32."""
    header = exr.read_exr_header(file)

    def read() -> np.ndarray:
        file.seek(0)
        return exr.read_exr(file).pixels.astype(np.float32, copy=False)

    alpha = "associated" if header.has_alpha else None
    return ValueFile((*header.size, len(header.names)), np.dtype(np.float32), read, alpha)
