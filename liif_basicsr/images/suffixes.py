"""Suffixes of image files. This module imports nothing slow, so that the command line reports typos at once."""
from __future__ import annotations

from pathlib import Path

from liif_basicsr.errors import LIIFError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")
# Arrays and renders: any number of bands, and floats.
VALUE_SUFFIXES = (".npy", ".exr")
WRITABLE = SUFFIXES + VALUE_SUFFIXES
# Upscaled and warped, but not written, and not used for training.
READ_ONLY_SUFFIXES = (".avif", ".gif", ".heic", ".heif")
# Many of these are TIFF files whose first image is a thumbnail, which must not be taken for the photograph.
RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".iiq", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw",
)  # fmt: skip


def has_image_suffix(path: Path) -> bool:
    """Return whether a file in a folder is taken for an image. macOS's `._photo.jpg` files are not."""
    return path.suffix.lower() in WRITABLE + READ_ONLY_SUFFIXES and not path.name.startswith("._")


def writable(path: Path) -> Path:
    """Return a path whose suffix can be written; .png replaces others."""
    return path if path.suffix.lower() in WRITABLE else path.with_suffix(".png")


def check_writable(path: Path) -> str:
    """Return the suffix of an output in lower case; LIIFError if it cannot be written."""
    if path.suffix.lower() not in WRITABLE:
        raise LIIFError(f"cannot be written, its suffix {path.suffix!r} is not one of {' '.join(WRITABLE)}")
    return path.suffix.lower()


def check_not_raw(path: Path) -> None:
    """Raise LIIFError for a camera's raw file."""
    if path.suffix.lower() in RAW_SUFFIXES:
        raise LIIFError("is a camera's raw file, which is not supported; develop it to a TIFF or JPEG first")
