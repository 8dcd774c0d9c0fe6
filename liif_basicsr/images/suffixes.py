"""Suffixes of image files. This module imports nothing slow, so that the command line reports typos at once."""
from __future__ import annotations

from pathlib import Path

from liif_basicsr.errors import LIIFError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")
# Formats for arrays and renderings. They support floats and any number of bands.
VALUE_SUFFIXES = (".npy", ".exr")
WRITABLE = SUFFIXES + VALUE_SUFFIXES
# Formats that can be read for upscaling and warping, but not written. They are not used for training.
READ_ONLY_SUFFIXES = (".avif", ".gif", ".heic", ".heif")
# Raw formats of cameras. Many are TIFF files whose first image is a thumbnail, not the photograph.
RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".iiq", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw",
)  # fmt: skip


def has_image_suffix(path: Path) -> bool:
    """Return whether a file has the suffix of an image and is not a `._photo.jpg` file, where macOS keeps metadata."""
    return path.suffix.lower() in WRITABLE + READ_ONLY_SUFFIXES and not path.name.startswith("._")


def writable(path: Path) -> Path:
    """Return the path, with the suffix .png if its own format cannot be written."""
    return path if path.suffix.lower() in WRITABLE else path.with_suffix(".png")


def check_writable(path: Path) -> str:
    """Return the suffix of an output in lower case.

    Raises:
        LIIFError: the format cannot be written.
    """
    if path.suffix.lower() not in WRITABLE:
        raise LIIFError(f"has the suffix {path.suffix!r}, which cannot be written; use one of {' '.join(WRITABLE)}")
    return path.suffix.lower()


def check_not_raw(path: Path) -> None:
    """Raise LIIFError for a camera's raw file."""
    if path.suffix.lower() in RAW_SUFFIXES:
        raise LIIFError("is a camera's raw file, which is not supported; develop it to a TIFF or JPEG first")
