"""Which image files are opened, and what is said about those that cannot be."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from liif_basicsr.errors import LIIFError

# Only these are opened, whatever a file's name says: some of Pillow's readers start programs.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")


@contextmanager
def open_image(file: str | Path | IO[bytes], remedy: str) -> Iterator[Image.Image]:
    """Open an image with Pillow; whatever Pillow raises within the context becomes one line.

    Args:
        remedy: what to do about a file that is corrupt or not an image, for the end of the message.

    Raises:
        LIIFError: it is corrupt, not an image of FORMATS, or has more than twice Pillow's MAX_IMAGE_PIXELS. The
            message starts with a verb, for the caller to put the file's name before it.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            yield image
    except LIIFError:
        raise
    except Image.DecompressionBombError:
        most = f"{2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million pixels"
        raise LIIFError(f"is too large, with more than {most}, which may be an attack; crop it") from None
    except UnidentifiedImageError:
        formats = "PNG, JPEG, WebP, TIFF, BMP or PPM"
        raise LIIFError(f"is not a {formats} image, or its header is corrupt; {remedy}") from None
    except Exception as error:  # Pillow's readers let almost any exception out on corrupt files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LIIFError(f"is corrupt ({reason[:120]}); {remedy}") from None
