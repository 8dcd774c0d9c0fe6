"""Pixels to image files, whole or not at all."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from liif_basicsr.images.png import write_png
from liif_basicsr.images.reading import LoadedImage
from liif_basicsr.images.tiff import write_tiff
from liif_basicsr.utils.errors import LIIFError

Shape = tuple[int, int, int]


class Format(NamedTuple):
    """What a kind of file can hold, and how it is written.

    max_edge: pixels along an edge; deep: 16 bits; streamed: written as it is made; metadata: ICC profile and EXIF.
    """

    name: str
    write: Callable[[IO[bytes], Iterator[np.ndarray], Shape, LoadedImage], None]
    max_edge: int
    deep: bool = False
    alpha: bool = True
    streamed: bool = False
    metadata: bool = True


def _png(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, source: LoadedImage) -> None:
    write_png(file, strips, shape, source.pixels.dtype, source.icc, source.exif_bytes(shape[:2]))


def _tiff(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, source: LoadedImage) -> None:
    write_tiff(file, strips, shape, source.pixels.dtype, source.icc, source.exif_for(shape[:2]))


def _pillow(name: str, **how: Any) -> Callable[[IO[bytes], Iterator[np.ndarray], Shape, LoadedImage], None]:
    """A writer of what Pillow writes, for which the whole output is kept in memory."""

    def write(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, source: LoadedImage) -> None:
        pixels = np.empty(shape, source.pixels.dtype)
        top = 0
        for strip in strips:
            pixels[top : top + len(strip)] = strip
            top += len(strip)
        image = Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels)
        encoded = BytesIO()  # not `file` itself: Pillow does not notice when a disk took only a part of what it wrote
        try:
            image.save(encoded, name, icc_profile=source.icc, exif=source.exif_bytes(shape[:2]), **how)
        except ValueError as error:  # such as more EXIF than the format holds
            raise LIIFError(f"cannot be written as {name} ({error}); write a .png or .tif") from None
        file.write(encoded.getbuffer())

    return write


_JPEG = Format("JPEG", _pillow("JPEG", quality=95, subsampling=0), 65535, alpha=False)
_TIFF = Format("TIFF", _tiff, 2**31 - 1, deep=True, streamed=True)
BY_SUFFIX = {
    ".png": Format("PNG", _png, 2**31 - 1, deep=True, streamed=True),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format("WebP", _pillow("WEBP", quality=95), 16383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format("BMP", _pillow("BMP"), 2**31 - 1, alpha=False, metadata=False),
}


def format_of(path: Path) -> Format:
    """The format that a file's name asks for; LIIFError if it is none of BY_SUFFIX."""
    found = BY_SUFFIX.get(path.suffix.lower())
    if found is None:
        raise LIIFError(f"its ending must be one of {' '.join(BY_SUFFIX)}, not {path.suffix!r}")
    return found


def without_needless_alpha(path: Path, source: LoadedImage) -> LoadedImage:
    """The image for a file of that name: without an alpha that hides nothing, where the format holds none."""
    pixels = source.pixels
    if format_of(path).alpha or pixels.shape[2] in (1, 3) or pixels[..., -1].min() < np.iinfo(pixels.dtype).max:
        return source
    return source._replace(pixels=np.ascontiguousarray(pixels[..., :-1]))


def check_format(path: Path, source: LoadedImage, size: tuple[int, int]) -> Format:
    """The format of `path`, if it holds an output of `size` (H, W) of this image.

    Raises:
        LIIFError: it does not: what to do is said. Nothing that the image has is dropped.
    """
    kind = format_of(path)
    height, width, channels = *size, source.pixels.shape[2]
    if max(size) > kind.max_edge:
        raise LIIFError(f"{height}x{width} is too large for {kind.name}, at most {kind.max_edge}; write a .png or .tif")
    if kind.name == "BMP" and height * width * channels >= 2**31:
        raise LIIFError(f"{height}x{width} is too large for BMP (2 GiB at most); write a .png or .tif")
    if source.pixels.dtype == np.uint16 and not kind.deep:
        raise LIIFError(f"has 16 bits, {kind.name} holds 8; write a .png or .tif")
    if channels in (2, 4) and not kind.alpha:
        raise LIIFError(f"is transparent in places, which {kind.name} cannot hold; write a .png, .tif or .webp")
    return kind
