"""Read numeric images that Pillow does not support: TIFF of any depth and number of bands, NumPy arrays, OpenEXR."""
from __future__ import annotations

from collections.abc import Callable
from typing import IO, NamedTuple

import numpy as np

from liif_basicsr.errors import LIIFError
from liif_basicsr.images import exr, npy
from liif_basicsr.images.formats import check_pixel_count
from liif_basicsr.images.tiff import ASSOCIATED, MAGICS, decode_page, open_page


class ValueFile(NamedTuple):
    """An opened image file whose pixels are read as raw numbers.

    shape: (H, W, C), where C includes the alpha channel.
    dtype: an integer or float type, in native byte order.
    read: function that decodes the pixels to an array of this shape and type.
    alpha: whether the last channel is alpha (opacity).
    premultiplied: whether the colors are multiplied by alpha.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    alpha: bool = False
    premultiplied: bool = False


def open_values(file: IO[bytes]) -> ValueFile | None:
    """Read the header of a numeric image.

    Returns:
        The opened image, or None if Pillow should open the file instead: it has another format or a damaged header, or
        Pillow reads it without loss.

    Raises:
        LIIFError: the file's values or layout are not supported. The message starts with a verb, because the caller
            puts the file's name in front.
    """
    head = file.read(8)
    file.seek(0)
    openers = {**dict.fromkeys(MAGICS, _open_tiff), npy.MAGIC: _open_npy, exr.MAGIC: _open_exr}
    found = next((opener(file) for magic, opener in openers.items() if head.startswith(magic)), None)
    if found is not None:
        check_pixel_count(found.shape[0] * found.shape[1])
    return found


def _open_tiff(file: IO[bytes]) -> ValueFile | None:
    opened = open_page(file)
    if opened is None or opened.plain:
        return None
    page = opened.page

    def read() -> np.ndarray:
        try:
            return decode_page(file, page)
        except LIIFError:
            raise
        except Exception as error:
            raise LIIFError(f"is corrupt ({str(error)[:120]}); get another copy") from None

    shape = page.imagelength, page.imagewidth, page.samplesperpixel
    return ValueFile(shape, opened.dtype, read, opened.alpha is not None, opened.alpha == ASSOCIATED)


def _open_npy(file: IO[bytes]) -> ValueFile:
    header = npy.read_npy_header(file)
    return ValueFile(header.shape, header.dtype.newbyteorder("="), lambda: npy.read_npy_values(file, header))


def _open_exr(file: IO[bytes]) -> ValueFile:
    """Open an OpenEXR image; 16-bit floats become float32."""
    header = exr.read_exr_header(file)

    def read() -> np.ndarray:
        file.seek(0)
        return exr.read_exr(file).pixels.astype(np.float32, copy=False)

    shape = *header.size, len(header.names)
    return ValueFile(shape, np.dtype(np.float32), read, header.has_alpha, header.has_alpha)
