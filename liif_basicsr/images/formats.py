"""Open the supported image formats, and turn their readers' errors and warnings into single lines."""
from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin, features  # noqa: F401

from liif_basicsr.errors import LIIFError

# tifffile logs several lines about a damaged file. Without a handler they appear on stderr, next to our one-line error.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# This call and the imports of the TIFF and WebP plugins above register the readers of FORMATS. Otherwise Image.open
# would import all of Pillow's readers.
Image.preinit()

# Only these formats are opened, regardless of the file name, because some of Pillow's readers start programs.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM")

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY_PNG = (0, 4)  # PNG's color types for gray without and with alpha
UNREADABLE_DEPTH = "has 16-bit pixels in an unsupported layout; save it as a 16-bit PNG"


@contextmanager
def open_image(file: IO[bytes], remedy: str, read_only: bool = False) -> Iterator[Image.Image]:
    """Open an image with Pillow. Every error in the context becomes a one-line LIIFError.

    Args:
        remedy: end of the message about a file that is corrupt or not an image; says what to do.
        read_only: also open the formats that are read but never written: AVIF, GIF and HEIC.

    Raises:
        LIIFError: the file is corrupt, is not an image of these formats, or has more than twice Pillow's
            MAX_IMAGE_PIXELS. The message starts with a verb, so that the caller can put the file's name before it.
    """
    try:
        with Image.open(file, formats=_readable_formats(file) if read_only else FORMATS) as image:
            yield image
    except LIIFError:
        raise
    except Image.DecompressionBombError:
        raise _bomb() from None
    except UnidentifiedImageError:
        formats = "PNG, JPEG, WebP, TIFF, BMP" + (", PPM, GIF, AVIF or HEIC" if read_only else " or PPM")
        raise LIIFError(f"is not a {formats} image, or its header is corrupt; {remedy}") from None
    except Exception as error:  # Pillow's readers raise almost any exception for corrupt files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LIIFError(f"is corrupt ({reason[:120]}); {remedy}") from None


def check_pixel_count(count: int) -> None:
    """Raise LIIFError if `count` pixels exceed twice Pillow's MAX_IMAGE_PIXELS, the limit of `open_image`."""
    if Image.MAX_IMAGE_PIXELS and count > 2 * Image.MAX_IMAGE_PIXELS:
        raise _bomb()


def check_depth(image: Any) -> None:
    """Raise LIIFError for a color PPM with more than 8 bits per channel, which Pillow would round to 8 bits.

    Args:
        image: an opened Pillow image, before it is loaded.
    """
    if image.format == "PPM" and image.mode == "RGB":
        arguments = [tile[3] for tile in image.tile]  # such as "RGB", or ("RGB", 65535)
        if any(isinstance(given, tuple) and len(given) == 2 and given[1] > 255 for given in arguments):
            raise LIIFError(UNREADABLE_DEPTH)


def _bomb() -> LIIFError:
    most = f"{2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million pixels"
    return LIIFError(
        f"is too large: more than {most}, which may be an attack; if you trust the file, pass --yes, or in Python set "
        "PIL.Image.MAX_IMAGE_PIXELS = None"
    )


def without_metadata(content: bytes, damaged_only: bool = False) -> bytes:
    """Return the content of a PNG file without its ancillary chunks. The content of other files is unchanged.

    Pillow refuses a PNG file with a damaged ancillary chunk.

    Args:
        damaged_only: remove only chunks whose checksum is wrong, and always keep the transparency (tRNS).
    """
    if not content.startswith(PNG_SIGNATURE):
        return content
    kept, start = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while start + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 12 + length
        critical = not kind[0] & 0x20  # the name of a critical chunk starts with an upper-case letter
        if critical or damaged_only and (kind == b"tRNS" or _is_intact(content[start:end])):
            kept.append(content[start:end])
        start = end
    return b"".join(kept)


def _is_intact(chunk: bytes) -> bool:
    """Return whether the checksum of a PNG chunk is right."""
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def decode_deep(content: bytes, size: tuple[int, int], dtype: object = "uint16") -> np.ndarray:
    """Decode a file with 16-bit or float pixels, using OpenCV.

    Args:
        content: the bytes of the file.
        size: (H, W) that the header states.
        dtype: type of the pixels that the header states.

    Returns:
        (H, W, C): gray or RGB, with alpha if the file has it.

    Raises:
        LIIFError: OpenCV cannot decode the file, or decodes it to another size or type.
    """
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype.name != np.dtype(dtype).name or pixels.shape[:2] != size:  # type: ignore[call-overload]
        raise LIIFError(UNREADABLE_DEPTH)
    if pixels.ndim == 2:
        return pixels[..., None]
    # OpenCV decodes gray with alpha to three equal bands and alpha.
    if content.startswith(PNG_SIGNATURE) and content[25] in GRAY_PNG:
        return pixels[..., [0, 3] if pixels.shape[2] == 4 else [0]]
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


@contextmanager
def collect_notes() -> Iterator[list[str]]:
    """Yield a list. If the context ends without an error, the distinct warnings raised in it are added to the list."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield notes
    notes += sorted({str(warning.message).strip() for warning in caught})


def _readable_formats(file: IO[bytes]) -> tuple[str, ...]:
    """Return Pillow's names of the formats to try for a file. For a HEIC file, also register its reader.

    Raises:
        LIIFError: the reader of a HEIC or AVIF file is not installed.
    """
    head = file.read(12)
    file.seek(0)
    if head[4:8] != b"ftyp":
        return (*FORMATS, "GIF")
    if head[8:12] in (b"avif", b"avis"):
        if not features.check("avif"):
            raise LIIFError("is an AVIF image, which the installed Pillow cannot read; run pip install 'pillow>=11.3'")
        return ("AVIF",)
    try:
        import_module("pillow_heif").register_heif_opener()
    except ModuleNotFoundError:
        raise LIIFError("is a HEIC image, which needs pillow-heif; run pip install 'liif_basicsr[heic]'") from None
    return ("HEIF",)
