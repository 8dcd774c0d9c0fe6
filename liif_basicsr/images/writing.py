"""Pixels to image files: what each format can hold, and how it is written."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.png import write_png
from liif_basicsr.images.reading import LoadedImage
from liif_basicsr.images.tiff import write_tiff

Shape = tuple[int, int, int]
Write = Callable[[IO[bytes], Iterator[np.ndarray], Shape, LoadedImage], None]


class Format(NamedTuple):
    """What a file format can hold, and how it is written.

    write: (file, strips, shape (H, W, C) of the output, the input that it was made from).
    max_edge: the most pixels along an edge.
    deep: holds 16 bits.
    alpha: holds an alpha channel.
    streamed: written strip by strip, so that the output is never whole in memory.
    metadata: holds an ICC profile and EXIF.
    """

    name: str
    write: Write
    max_edge: int
    deep: bool = False
    alpha: bool = True
    streamed: bool = False
    metadata: bool = True


def _png(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, source: LoadedImage) -> None:
    write_png(file, strips, shape, source.pixels.dtype, source.icc, source.exif_bytes(shape[:2]))


def _tiff(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, source: LoadedImage) -> None:
    write_tiff(file, strips, shape, source.pixels.dtype, source.icc, source.exif_for(shape[:2]))


def _pillow(name: str, **how: Any) -> Write:
    """Make a writer for a format that Pillow writes, which needs the whole output in memory."""

    def write(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, source: LoadedImage) -> None:
        pixels = np.empty(shape, source.pixels.dtype)
        top = 0
        for strip in strips:
            pixels[top : top + len(strip)] = strip
            top += len(strip)
        image = Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels)
        encoded = BytesIO()  # not `file` itself: Pillow does not notice a disk that accepts only a part
        try:
            image.save(encoded, name, icc_profile=source.icc, exif=source.exif_bytes(shape[:2]), **how)
        except ValueError as error:  # such as more EXIF than the format can hold
            raise LIIFError(f"cannot be written as {name} ({error}); write a .png or .tif") from None
        with encoded.getbuffer() as content:  # released on errors too, else Python 3.13 complains of it afterwards
            file.write(content)

    return write


_JPEG = Format("JPEG", _pillow("JPEG", quality=95, subsampling=0), 65535, alpha=False)
_TIFF = Format("TIFF", _tiff, 2**31 - 1, deep=True, streamed=True)
_PPM = Format("PPM", _pillow("PPM"), 2**31 - 1, alpha=False, metadata=False)
BY_SUFFIX = {
    ".png": Format("PNG", _png, 2**31 - 1, deep=True, streamed=True),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format("WebP", _pillow("WEBP", quality=95), 16383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format("BMP", _pillow("BMP"), 2**31 - 1, alpha=False, metadata=False),
    ".ppm": _PPM,
    ".pgm": _PPM,
}


def format_of(path: Path) -> Format:
    """The format that a file's suffix stands for; LIIFError if it is not in BY_SUFFIX."""
    found = BY_SUFFIX.get(path.suffix.lower())
    if found is None:
        raise LIIFError(f"its suffix must be one of {' '.join(BY_SUFFIX)}, not {path.suffix!r}")
    return found


def without_needless_alpha(path: Path, source: LoadedImage) -> LoadedImage:
    """Drop an alpha channel that is opaque everywhere, if the format of `path` holds none."""
    pixels = source.pixels
    if format_of(path).alpha or pixels.shape[2] in (1, 3) or pixels[..., -1].min() < np.iinfo(pixels.dtype).max:
        return source
    return source._replace(pixels=np.ascontiguousarray(pixels[..., :-1]))


def check_format(path: Path, source: LoadedImage, size: tuple[int, int]) -> Format:
    """The format of `path`, provided that it can hold an output of `size` (H, W) of this image.

    Raises:
        LIIFError: it is too small, or would lose depth or transparency; nothing is dropped silently.
    """
    kind = format_of(path)
    height, width, channels = *size, source.pixels.shape[2]
    if max(size) > kind.max_edge:
        raise LIIFError(f"{height}x{width} is too large for {kind.name}, at most {kind.max_edge}; write a .png or .tif")
    if kind.name == "BMP" and height * width * channels >= 2**31:
        raise LIIFError(f"{height}x{width} is too large for BMP (2 GiB at most); write a .png or .tif")
    if source.pixels.dtype == np.uint16 and not kind.deep:
        raise LIIFError(f"has 16 bits, but {kind.name} holds 8; write a .png or .tif")
    if channels in (2, 4) and not kind.alpha:
        raise LIIFError(f"is transparent in places, which {kind.name} cannot hold; write a .png, .tif or .webp")
    return kind
