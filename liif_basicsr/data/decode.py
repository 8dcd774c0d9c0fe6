"""Convert image files to RGB pixels, and pixels to tensors."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import tifffile
import torch
from PIL import Image
from torch import Tensor

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.formats import open_image

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def decode(content: bytes, name: str) -> np.ndarray:
    """Decode an image file.

    Gray and palette images become RGB, alpha is dropped, and 16-bit values keep their upper 8 bits. The EXIF
    orientation is ignored, as in the official code.

    Args:
        content: the file's bytes.
        name: the file's name in error messages.

    Returns:
        uint8 array (H, W, 3), RGB.

    Raises:
        LIIFError: the file is corrupt, truncated, too large, not an image, or a TIFF whose values are not unsigned
            integers of at most 16 bits.
    """
    with _open(BytesIO(content), name) as image:
        if content.startswith(TIFF_SIGNATURES):
            planes = _separate_planes(content)
            if planes is not None:
                return planes
        if image.mode.startswith("I"):  # 16-bit gray, which Pillow's own conversion would clip at 255
            gray = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(gray[..., None], 3, axis=2)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def size_of(path: str | Path) -> tuple[int, int]:
    """Return (H, W) of an image file from its header.

    Raises:
        LIIFError: as `decode`.
    """
    with _open(path, str(path)) as image:
        return image.height, image.width


@contextmanager
def _open(file: str | Path | IO[bytes], name: str) -> Iterator[Image.Image]:
    """Open an image with Pillow; name the file in every error."""
    try:
        with open(file, "rb") if isinstance(file, (str, Path)) else nullcontext(file) as opened:
            _check_tiff(opened)
            with open_image(opened, "replace or remove it") as image:
                yield image
    except LIIFError as error:
        raise LIIFError(f"{name} {error}") from None
    except OSError as error:
        raise LIIFError(f"{name} cannot be read: {error.strerror or error}") from None


def _check_tiff(file: IO[bytes]) -> None:
    """Raise for a TIFF whose values have no known range; Pillow would read them as black, clipped or not at all."""
    is_tiff = file.read(4) in TIFF_SIGNATURES
    file.seek(0)
    if not is_tiff:
        return
    try:
        with tifffile.TiffFile(file) as tiff:
            dtype = tiff.pages.first.dtype
    except Exception:  # a damaged directory, which Pillow reports
        dtype = None
    file.seek(0)
    if dtype is not None and (dtype.kind not in "ub" or dtype.itemsize > 2):
        raise LIIFError(f"has {dtype} values; convert it to unsigned integers of 8 or 16 bits")


def _separate_planes(content: bytes) -> np.ndarray | None:
    """Decode an uncompressed TIFF that stores each channel on its own, which Pillow misreads at 16 bits.

    Returns:
        uint8 array (H, W, 3), RGB; None for any other TIFF.
    """
    try:
        with tifffile.TiffFile(BytesIO(content)) as tiff:
            page = tiff.pages.first
            planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel >= 3
            if not planar or page.compression != 1 or page.photometric != tifffile.PHOTOMETRIC.RGB:
                return None
            planes = page.asarray()
    except Exception as error:  # damage beyond the header
        raise LIIFError(f"is corrupt ({str(error)[:120]}); replace or remove it") from None
    if page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,):  # colors are multiplied by alpha
        alpha = np.maximum(planes[3:4], 1).astype(np.float64) / np.iinfo(planes.dtype).max
        planes = (planes / alpha).clip(0, np.iinfo(planes.dtype).max).round().astype(planes.dtype)
    planes = planes >> 8 if planes.dtype == np.uint16 else planes
    return np.ascontiguousarray(planes[:3].transpose(1, 2, 0).astype(np.uint8))


def to_tensor(image: np.ndarray) -> Tensor:
    """Convert uint8 pixels (..., C) to float32 in [0, 1] of the same shape."""
    # Always a copy: NumPy calls a view of a single pixel contiguous, even with negative strides.
    return torch.from_numpy(np.array(image, order="C")).float().div_(255)


def to_image_tensor(image: np.ndarray) -> Tensor:
    """Convert a uint8 array (H, W, 3) to a float32 tensor (3, H, W) in [0, 1]."""
    return to_tensor(image.transpose(2, 0, 1))


def to_pixels(image: Tensor) -> np.ndarray:
    """Convert a CPU tensor (3, H, W) to a uint8 array (H, W, 3), clamped to [0, 1] and rounded."""
    return image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
