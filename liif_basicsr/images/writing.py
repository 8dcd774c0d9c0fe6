"""Write image files, within the limits of each format."""
from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from itertools import chain
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.exr import write_exr
from liif_basicsr.images.formats import PNG_SIGNATURE
from liif_basicsr.images.loaded import DTYPES, LoadedImage
from liif_basicsr.images.npy import write_npy
from liif_basicsr.images.size import show_size
from liif_basicsr.images.suffixes import check_writable
from liif_basicsr.images.tiff import write_tiff
from liif_basicsr.images.values import describe_bands, full_scale
from liif_basicsr.rendering.memory import QUEUED_STRIPS

Shape = tuple[int, int, int]
Write = Callable[[IO[bytes], Iterator[np.ndarray], Shape, LoadedImage], None]
PROFILE, EXIF, XMP, RESOLUTION = "color profile", "EXIF", "XMP", "resolution"
PHOTO_METADATA = (PROFILE, EXIF, XMP, RESOLUTION)
GEO, ATTRIBUTES, NAMES = "GeoTIFF tags", "EXR attributes", "names of bands"

PNG_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # number of channels -> color type
PNG_FILTER_UP = 2  # subtracts the byte above from each byte: cheap, and compresses photographs well
PNG_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"  # header of an iTXt chunk: keyword, not compressed, no language
JPEG_SEGMENT = 65533  # largest content of a segment in bytes
JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# Interval in seconds at which each thread checks whether the other one has failed.
POLL = 0.1


class Format(NamedTuple):
    """A file format: its limits and its writer.

    write: function that writes the file. It takes the file, the strips, the output's shape (H, W, C), and the input.
    max_edge: largest number of pixels along an edge.
    dtypes: pixel types that the format supports.
    alpha: whether the format supports an alpha channel.
    bands: whether the format supports any number of bands, not only gray and RGB.
    streamed: whether the file is written strip by strip, so that memory never contains the whole output.
    metadata: kinds of metadata that the format can store.
    """

    name: str
    write: Write
    max_edge: int = 2**31 - 1
    dtypes: tuple[str, ...] = ("uint8",)
    alpha: bool = True
    bands: bool = False
    streamed: bool = False
    metadata: tuple[str, ...] = PHOTO_METADATA

    def lost_metadata(self, source: LoadedImage) -> list[str]:
        """Return the kinds of metadata that the input has, but the format cannot store."""
        present = {
            PROFILE: source.icc,
            EXIF: source.exif,
            XMP: source.xmp,
            RESOLUTION: source.dpi,
            GEO: any(isinstance(tag, int) for tag in source.tags),
            ATTRIBUTES: any(isinstance(tag, str) for tag in source.tags),
            NAMES: source.names and not source.is_photo,
        }
        return [kind for kind, value in present.items() if value and kind not in self.metadata]


def _write_png(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, source: LoadedImage) -> None:
    """Write a PNG strip by strip. Pillow can write neither strips nor several 16-bit channels.

    Source: PNG specification, third edition, sections 5, 9 and 11.
    """
    (height, width, channels), dtype = shape, source.dtype
    file.write(PNG_SIGNATURE)
    header = struct.pack(">IIBBBBB", width, height, 8 * dtype.itemsize, PNG_COLOR_TYPES[channels], 0, 0, 0)
    _write_png_chunk(file, b"IHDR", header)
    if source.icc:
        _write_png_chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(source.icc))
    if source.dpi:
        x, y = (round(value / 0.0254) for value in source.dpi)
        _write_png_chunk(file, b"pHYs", struct.pack(">IIB", x, y, 1))  # per meter
    if source.xmp:
        _write_png_chunk(file, b"iTXt", PNG_XMP + source.xmp)
    exif = source.exif_bytes(shape[:2])
    if exif:
        _write_png_chunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    compressor = zlib.compressobj()
    above: np.ndarray = np.zeros((1, width * channels * dtype.itemsize), np.uint8)
    for strip in strips:
        rows = strip.astype(dtype.newbyteorder(">")).reshape(len(strip), -1).view(np.uint8)
        filtered = rows - np.concatenate([above, rows[:-1]])
        above = rows[-1:]
        lines = np.concatenate([np.full((len(rows), 1), PNG_FILTER_UP, np.uint8), filtered], axis=1)
        _write_png_chunk(file, b"IDAT", compressor.compress(lines.data))
    _write_png_chunk(file, b"IDAT", compressor.flush())
    _write_png_chunk(file, b"IEND", b"")


def _write_png_chunk(file: IO[bytes], kind: bytes, content: bytes) -> None:
    if content or kind == b"IEND":
        file.write(struct.pack(">I", len(content)) + kind + content)
        file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))


def _write_jpeg(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, source: LoadedImage) -> None:
    options: dict[str, Any] = {"icc_profile": source.icc}
    exif = source.exif_bytes(shape[:2])
    if len(exif) > JPEG_SEGMENT:
        warnings.warn(f"EXIF is not kept, because JPEG stores at most {JPEG_SEGMENT} bytes of it", stacklevel=2)
    elif exif:
        options["exif"] = exif
    if source.dpi:
        options["dpi"] = tuple(map(round, source.dpi))
    if source.xmp and len(JPEG_XMP + source.xmp) > JPEG_SEGMENT:
        warnings.warn(f"XMP is not kept, because JPEG stores at most {JPEG_SEGMENT} bytes of it", stacklevel=2)
    elif source.xmp:  # encoded here, because Pillow cannot write XMP before version 11
        content = JPEG_XMP + source.xmp
        options["extra"] = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    _save(file, strips, shape, "JPEG", quality=95, subsampling=0, **options)


def _write_webp(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, source: LoadedImage) -> None:
    exif = source.exif_bytes(shape[:2])
    _save(file, strips, shape, "WEBP", quality=95, icc_profile=source.icc, exif=exif, xmp=source.xmp or b"")


def _write_bmp(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, source: LoadedImage) -> None:
    _save(file, strips, shape, "BMP", **({"dpi": source.dpi} if source.dpi else {}))


def _write_ppm(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, source: LoadedImage) -> None:
    _save(file, strips, shape, "PPM")


def _save(file: IO[bytes], strips: Iterator[np.ndarray], shape: Shape, name: str, **options: Any) -> None:
    """Collect 8-bit strips, and write them in a format that Pillow calls `name`, with arguments for `Image.save`."""
    pixels = np.empty(shape, np.uint8)
    top = 0
    for strip in strips:
        pixels[top : top + len(strip)] = strip
        top += len(strip)
    image = Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels)
    encoded = BytesIO()  # Pillow does not notice if a full disk stores only a part
    try:
        image.save(encoded, name, **options)
    except ValueError as error:
        raise LIIFError(f"cannot be written as {name} ({error}); write a .png or .tif") from None
    with encoded.getbuffer() as content:  # Python 3.13 complains about an unreleased buffer, also after errors
        file.write(content)


_JPEG = Format("JPEG", _write_jpeg, max_edge=65535, alpha=False)
_TIFF = Format("TIFF", write_tiff, dtypes=DTYPES, bands=True, streamed=True, metadata=(*PHOTO_METADATA, GEO))
_WEBP = Format("WebP", _write_webp, max_edge=16383, metadata=(PROFILE, EXIF, XMP))
_BMP = Format("BMP", _write_bmp, alpha=False, metadata=(RESOLUTION,))
_PPM = Format("PPM", _write_ppm, alpha=False, metadata=())
BY_SUFFIX = {
    ".png": Format("PNG", _write_png, dtypes=("uint8", "uint16"), streamed=True),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), _JPEG),
    ".webp": _WEBP,
    **dict.fromkeys((".tif", ".tiff"), _TIFF),
    ".bmp": _BMP,
    **dict.fromkeys((".ppm", ".pgm"), _PPM),
    ".npy": Format("npy", write_npy, dtypes=DTYPES, bands=True, streamed=True, metadata=()),
    ".exr": Format("EXR", write_exr, dtypes=("float16", "float32"), bands=True, metadata=(ATTRIBUTES, NAMES)),
}


def format_of(path: Path) -> Format:
    """Return the format that a file's suffix names.

    Raises:
        LIIFError: the format cannot be written.
    """
    return BY_SUFFIX[check_writable(path)]


def drop_opaque_alpha(path: Path, source: LoadedImage) -> LoadedImage:
    """Return the image without alpha if alpha is opaque everywhere and the format of `path` does not support it."""
    pixels = source.pixels
    if format_of(path).alpha or not source.has_alpha or pixels[..., -1].min() < full_scale(pixels.dtype):
        return source
    return source._replace(pixels=np.ascontiguousarray(pixels[..., :-1]), alpha=False)


def check_format(path: Path, source: LoadedImage, shape: tuple[int, int, int]) -> Format:
    """Return the format of `path`, after checking that it supports an output.

    Args:
        source: image with the output's pixel type and bands.
        shape: (H, W, C) of the output.

    Raises:
        LIIFError: the format does not support the output's size, pixel type or bands.
    """
    kind = format_of(path)
    height, width, channels = shape
    if max(height, width) > kind.max_edge:
        raise LIIFError(f"{show_size((height, width))} is too large for {kind.name}, whose edges have at most "
                        f"{kind.max_edge} pixels; write a .png or .tif")  # fmt: skip
    if kind.name == "BMP" and height * width * channels >= 2**31:
        raise LIIFError(f"{show_size((height, width))} is too large for BMP, whose files have at most 2 GiB; write a "
                        ".png or .tif")  # fmt: skip
    if source.dtype.name not in kind.dtypes:
        others = ".png or .tif" if source.dtype == np.uint16 else ".tif or .npy"
        raise LIIFError(f"has {source.dtype} pixels, but {kind.name} supports only {' and '.join(kind.dtypes)}; write "
                        f"a {others}")  # fmt: skip
    if channels != (3 if source.has_rgb else 1) + source.has_alpha and not kind.bands:
        raise LIIFError(f"has {describe_bands(source)}, but {kind.name} supports only gray and RGB; write a .tif or "
                        ".npy, or choose bands with --bands")  # fmt: skip
    if source.has_alpha and not kind.alpha:
        raise LIIFError(f"has transparent pixels, which {kind.name} does not support; write a .png, .tif or .webp")
    return kind


def write_in_thread(write: Callable[[Iterator[np.ndarray]], None], strips: Iterator[np.ndarray]) -> None:
    """Call `write` in a second thread, while the calling thread computes the strips.

    At most QUEUED_STRIPS strips wait to be written. An error in either thread ends both, and is raised in the calling
    thread.
    """
    queue: Queue[np.ndarray | None] = Queue(QUEUED_STRIPS)
    ended = Event()
    with ThreadPoolExecutor(1, "writer") as pool:
        try:  # an interrupt may arrive as soon as the writer has been submitted
            writer = pool.submit(write, _received(queue, ended))
            for strip in chain(strips, [None]):
                _put(queue, strip, writer)
                if writer.done():
                    break
            writer.result()
        finally:
            ended.set()


def _put(queue: Queue[np.ndarray | None], strip: np.ndarray | None, writer: Future[None]) -> None:
    """Put a strip into the queue as soon as there is room, unless the writer ends first."""
    while not writer.done():
        try:
            queue.put(strip, timeout=POLL)
            return
        except Full:
            continue


def _received(queue: Queue[np.ndarray | None], ended: Event) -> Iterator[np.ndarray]:
    """Yield the strips from a queue up to the first None.

    Raises:
        RuntimeError: `ended` was set before that.
    """
    while not ended.is_set():
        try:
            strip = queue.get(timeout=POLL)
        except Empty:
            continue
        if strip is None:
            return
        yield strip
    raise RuntimeError("the strips cannot be computed")  # ends the writer; the calling thread raises the actual error
