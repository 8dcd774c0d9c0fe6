"""Files of numbers that Pillow does not read: TIFF of any depth and number of bands, NumPy arrays, OpenEXR."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

import numpy as np
import tifffile

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.formats import check_pixel_count, decode_deep
from liif_basicsr.images.tiff import ASSOCIATED, MAGICS, MIN_IS_BLACK, MIN_IS_WHITE, RGB, SEPARATE, UNASSOCIATED

NPY_MAGIC, EXR_MAGIC = b"\x93NUMPY", b"\x76\x2f\x31\x01"
VALUE_SUFFIXES = (".npy", ".exr")


class ValueFile(NamedTuple):
    """An image of numbers, opened.

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
    """Read the header of a file; return None if it is damaged, or one that Pillow reads without loss.

    Raises:
        LIIFError: its values or its layout are not supported. The message starts with a verb.
    """
    head = file.read(8)
    file.seek(0)
    openers = {**dict.fromkeys(MAGICS, _open_tiff), NPY_MAGIC: _open_npy, EXR_MAGIC: _open_exr}
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
    separate = page.planarconfig == SEPARATE and samples > 1
    if dtype == np.uint8 and not separate:
        known = kind in (MIN_IS_WHITE, MIN_IS_BLACK, RGB)
        if not known or samples == colors + (alpha is not None):
            return None
    if kind not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB):
        raise LIIFError(f"has {dtype} values in the colors {getattr(kind, 'name', kind)}; save it as RGB or as bands")

    def read() -> np.ndarray:
        pixels = _decode_page(file, page)
        if kind == MIN_IS_WHITE and dtype.kind == "u":
            pixels[..., 0] = np.iinfo(dtype).max - pixels[..., 0]
        return pixels

    return ValueFile((page.imagelength, page.imagewidth, samples), dtype.newbyteorder("="), _checked(read), alpha)


def _decode_page(file: IO[bytes], page: Any) -> np.ndarray:
    """Return the stored samples of a page (H, W, C)."""
    try:
        samples = page.asarray().reshape(page.shaped)  # (planes, depth, H, W, samples)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        if page.dtype == np.uint16 and page.planarconfig != SEPARATE and page.samplesperpixel in (1, 3, 4):
            file.seek(0)
            return decode_deep(file.read(), (page.imagelength, page.imagewidth))
        compression = getattr(page.compression, "name", page.compression)
        raise LIIFError(f"has {page.dtype} values compressed by {compression}, which need imagecodecs; "
                        "pip install imagecodecs, or save it without compression") from None  # fmt: skip
    separate = page.planarconfig == SEPARATE and page.samplesperpixel > 1
    return np.moveaxis(samples[:, 0, :, :, 0], 0, -1).copy() if separate else samples[0, 0].copy()


def _open_npy(file: IO[bytes]) -> ValueFile:
    try:
        version = np.lib.format.read_magic(file)
        headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = headers[version](file)
        start, end = file.tell(), file.seek(0, 2)
    except Exception as error:
        raise LIIFError(f"is not an array of numbers, or its header is corrupt ({error}); replace it") from None
    finally:
        file.seek(0)
    if dtype.kind not in "uif" or len(shape) not in (2, 3) or 0 in shape:
        raise LIIFError(f"has {dtype} values of shape {shape}; expected numbers of shape (H, W) or (H, W, C)")
    if end - start < np.prod(shape, dtype=np.float64) * dtype.itemsize:
        raise LIIFError("is cut short; get another copy")
    full: Any = shape if len(shape) == 3 else (*shape, 1)

    def read() -> np.ndarray:
        return np.load(file, allow_pickle=False).reshape(full).astype(dtype.newbyteorder("="), copy=False)

    return ValueFile(full, dtype.newbyteorder("="), _checked(read))


def _open_exr(file: IO[bytes]) -> ValueFile:
    """Open an OpenEXR image; 16-bit floats become float32. R, G, B and A come first, the others as stored."""

    def read() -> np.ndarray:
        with _exr(file, separate_channels=True) as image:
            pixels = [image.channels()[name].pixels for name in names]
            if any(channel.dtype.kind != "f" for channel in pixels):
                raise LIIFError("has a channel of integers (object or material IDs); save it without")
            return np.stack(pixels, axis=-1).astype(np.float32, copy=False)

    try:
        with _exr(file, header_only=True) as image:
            header, parts = image.header(), len(image.parts)
            (left, top), (right, bottom) = header["dataWindow"]
            whole = all((channel.xSampling, channel.ySampling) == (1, 1) for channel in header["channels"])
            present = [channel.name for channel in header["channels"]]
    except LIIFError:
        raise
    except Exception as error:
        raise LIIFError(f"is a corrupt OpenEXR image ({error}); get another copy") from None
    if parts != 1 or not whole:
        raise LIIFError("has several parts, or channels of different sizes; save it as one part of full size")
    names = [name for name in "RGBA" if name in present] + [name for name in present if name not in tuple("RGBA")]
    shape = int(bottom - top + 1), int(right - left + 1), len(names)
    return ValueFile(shape, np.dtype(np.float32), _checked(read), "associated" if names[-1] == "A" else None)


@contextmanager
def _exr(file: IO[bytes], **options: bool) -> Iterator[Any]:
    """Open a file with OpenEXR, which reads streams only from version 3.5 on."""
    try:
        library = import_module("OpenEXR")
    except ModuleNotFoundError:
        raise LIIFError("is an OpenEXR image, which needs OpenEXR; pip install 'liif_basicsr[exr]'") from None
    file.seek(0)
    with TemporaryDirectory() as folder:
        path = Path(folder, "image.exr")
        path.write_bytes(file.read())
        yield library.File(str(path), **options)
    file.seek(0)


def _checked(read: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
    """Turn the errors of a decoder into one line."""

    def checked() -> np.ndarray:
        try:
            return read()
        except LIIFError:
            raise
        except Exception as error:
            raise LIIFError(f"is corrupt ({str(error)[:120]}); get another copy") from None

    return checked
