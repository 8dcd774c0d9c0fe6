"""Convert image files to RGB or gray pixels, and pixels to tensors."""
from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import tifffile
import torch
from PIL import Image
from torch import Tensor

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.formats import PNG_SIGNATURE, open_image, without_metadata

REMEDY = "replace or remove it"
PNG_HEADER = PNG_SIGNATURE + b"\0\0\0\rIHDR"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def decode(content: bytes, name: str, channels: int = 3) -> np.ndarray:
    """Decode an image file.

    Gray and palette images become RGB, alpha is dropped, and 16-bit values keep their upper 8 bits. Metadata is
    ignored, even if it is damaged; so is the EXIF orientation, as in the official code.

    Args:
        content: the file's bytes.
        name: the file's name in error messages.
        channels: 3 for RGB, 1 for gray.

    Returns:
        uint8 array (H, W, channels).

    Raises:
        LIIFError: the file is corrupt, truncated, too large, not an image, a TIFF whose values are not unsigned
            integers of at most 16 bits, or a color image although `channels` is 1.
    """
    content = without_metadata(content)
    with _naming(name):
        planes = _separate_planes(content) if content.startswith(TIFF_SIGNATURES) and channels == 3 else None
        if planes is not None:
            return planes
        with open_image(BytesIO(content), REMEDY) as image:
            _check_channels(image, channels)
            if image.mode.startswith("I"):  # 16-bit gray, which Pillow's own conversion would clip at 255
                gray = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
                return np.repeat(gray[..., None], channels, axis=2)
            mode = "RGB" if channels == 3 else "L"
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
            return pixels.reshape(*pixels.shape[:2], channels)


def size_of(path: str | Path, channels: int = 3) -> tuple[int, int]:
    """Return (H, W) of an image file from its header. `channels` is as for `decode`.

    Raises:
        LIIFError: as `decode`.
    """
    with _naming(str(path)), open(path, "rb") as file:
        head = file.read(33)
        file.seek(0)
        if head.startswith(PNG_HEADER) and len(head) == 33 and channels == 3:
            width, height, crc = struct.unpack(">II5xI", head[16:])
            if width and height and crc == zlib.crc32(head[12:29]):
                return height, width
        page = _tiff_page(file) if head.startswith(TIFF_SIGNATURES) else None
        if page is not None and channels == 3:
            return page.imagelength, page.imagewidth
        with open_image(file, REMEDY) as image:
            _check_channels(image, channels)
            return image.height, image.width


def _check_channels(image: Image.Image, channels: int) -> None:
    """Raise for a color image if `channels` is 1."""
    gray = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
    if channels == 1 and not gray:
        raise LIIFError(f"is {image.mode}, but channels is 1; convert it to gray, or remove channels")


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Put the file's name in front of every error."""
    try:
        yield
    except LIIFError as error:
        raise LIIFError(f"{name} {error}") from None
    except OSError as error:
        raise LIIFError(f"{name} cannot be read: {error.strerror or error}") from None


def _tiff_page(file: IO[bytes]) -> tifffile.TiffPage | None:
    """Return the first page of a TIFF; None if its directory is damaged, which Pillow reports.

    Raises:
        LIIFError: the values have no known range; Pillow would read them as black, clipped or not at all.
    """
    try:
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            dtype = page.dtype
    except Exception:
        return None
    finally:
        file.seek(0)
    if dtype is None or dtype.kind not in "ub" or dtype.itemsize > 2:
        raise LIIFError(f"has {dtype} values; convert it to unsigned integers of 8 or 16 bits")
    return page


def _separate_planes(content: bytes) -> np.ndarray | None:
    """Decode an uncompressed TIFF that stores each channel on its own, which Pillow misreads at 16 bits.

    Returns:
        uint8 array (H, W, 3), RGB; None for any other TIFF.
    """
    page = _tiff_page(BytesIO(content))
    if page is None or page.samplesperpixel < 3 or page.photometric != tifffile.PHOTOMETRIC.RGB:
        return None
    if page.planarconfig != tifffile.PLANARCONFIG.SEPARATE or page.compression != tifffile.COMPRESSION.NONE:
        return None
    try:
        planes = tifffile.imread(BytesIO(content), key=0)
    except Exception as error:  # damage beyond the directory
        raise LIIFError(f"is corrupt ({str(error)[:120]}); {REMEDY}") from None
    most = np.iinfo(planes.dtype).max
    if page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,):  # colors are multiplied by alpha
        planes = (planes * (most / np.maximum(planes[3:4], 1))).clip(0, most).round().astype(planes.dtype)
    planes = planes[:3] >> 8 if planes.dtype == np.uint16 else planes[:3]
    return np.ascontiguousarray(planes.transpose(1, 2, 0).astype(np.uint8))


def to_tensor(image: np.ndarray) -> Tensor:
    """Convert uint8 pixels (..., C) to float32 in [0, 1] of the same shape."""
    # Always a copy: NumPy calls a view of a single pixel contiguous, even with negative strides.
    return torch.from_numpy(np.array(image, order="C")).float().div_(255)


def to_image_tensor(image: np.ndarray) -> Tensor:
    """Convert a uint8 array (H, W, C) to a float32 tensor (C, H, W) in [0, 1]."""
    return to_tensor(image.transpose(2, 0, 1))


def to_pixels(image: Tensor) -> np.ndarray:
    """Convert a CPU tensor (3, H, W) to a uint8 array (H, W, 3), clamped to [0, 1] and rounded."""
    return image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
