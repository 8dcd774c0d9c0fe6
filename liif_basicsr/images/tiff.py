"""TIFF: pixel layouts that Pillow misreads, and tiled output, as BigTIFF where the file may exceed 4 GiB."""
from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.formats import decode_deep

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
EXIF_IFD, GPS_IFD, XMP_TAG = 0x8769, 0x8825, 700
MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2  # PhotometricInterpretation
SEPARATE, UNSIGNED = 2, 1  # PlanarConfiguration, SampleFormat
ASSOCIATED, UNASSOCIATED = 1, 2  # ExtraSamples
TILE = 256
BIG = 1 << 31  # bytes of pixels; compression rarely makes them larger, and never twice as large
TYPE_BYTE, TYPE_ASCII, TYPE_LONG, TYPE_LONG8 = 1, 2, 4, 16


class TiffPixels(NamedTuple):
    """Pixels of a TIFF file: uint8 or uint16 (H, W, C), with unassociated alpha.

    icc: color profile.
    pillow_opens: whether Pillow can open the file, which it needs for the metadata.
    """

    pixels: np.ndarray
    icc: bytes | None
    pillow_opens: bool


def read_tiff(file: IO[bytes]) -> TiffPixels | None:
    """Read gray or RGB pixels whose layout Pillow misreads: 16 bits, separate planes, gray with associated alpha.

    Returns:
        None if the file is not a TIFF, or if Pillow reads it correctly.

    Raises:
        LIIFError: the pixels are damaged, or stored in an unsupported way.
    """
    head = file.read(4)
    file.seek(0)
    if head not in MAGICS:
        return None
    try:
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            frames = len(tiff.pages)
            bits, colors = page.bitspersample, 3 if page.photometric == RGB else 1
            separate = page.planarconfig == SEPARATE and page.samplesperpixel > 1
            alpha = next(iter(page.extrasamples), None) if page.samplesperpixel == colors + 1 else None
            plain = page.photometric in (MIN_IS_WHITE, MIN_IS_BLACK, RGB) and page.sampleformat == UNSIGNED
            if 8 < bits < 16 and plain:
                raise LIIFError(f"has {bits}-bit pixels, which are not supported; save it with 8 or 16 bits")
            if not plain or bits not in (8, 16) or (bits == 8 and not separate) or frames > 1 or _is_bomb(page):
                return None  # Pillow reads or refuses it
            pixels = _decode(file, page, separate)
            icc = page.iccprofile
    except LIIFError:
        raise
    except Exception:  # a damaged file; Pillow has a better message
        return None
    finally:
        file.seek(0)
    if page.photometric == MIN_IS_WHITE:
        pixels[..., 0] = np.iinfo(pixels.dtype).max - pixels[..., 0]
    pixels = pixels[..., : colors + (alpha in (ASSOCIATED, UNASSOCIATED))]
    if alpha == ASSOCIATED:
        pixels = _unassociate(pixels)
    return TiffPixels(np.ascontiguousarray(pixels), icc, _pillow_opens(file))


def _is_bomb(page: Any) -> bool:
    return page.imagewidth * page.imagelength > 2 * (Image.MAX_IMAGE_PIXELS or 1 << 62)


def _decode(file: IO[bytes], page: Any, separate: bool) -> np.ndarray:
    """Return the stored samples (H, W, C)."""
    try:
        samples = page.asarray().reshape(page.shaped)  # (planes, depth, H, W, samples)
        return np.moveaxis(samples[:, 0, :, :, 0], 0, -1).copy() if separate else samples[0, 0].copy()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    compression = getattr(page.compression, "name", page.compression)
    if separate or page.bitspersample == 8 or page.samplesperpixel == 2:
        raise LIIFError(f"has separate planes or alpha, compressed by {compression}, and needs imagecodecs; "
                        "pip install imagecodecs, or save it without compression")  # fmt: skip
    file.seek(0)
    return decode_deep(file.read(), (page.imagelength, page.imagewidth))


def _unassociate(pixels: np.ndarray) -> np.ndarray:
    """Divide colors by alpha."""
    most, alpha = np.iinfo(pixels.dtype).max, pixels[..., -1:].astype(np.float64)
    colors = pixels[..., :-1] * (most / np.maximum(alpha, 1))
    return np.concatenate([colors.round().clip(0, most).astype(pixels.dtype), pixels[..., -1:]], axis=-1)


def _pillow_opens(file: IO[bytes]) -> bool:
    try:
        with Image.open(file, formats=("TIFF",)):
            return True
    except Exception:  # Pillow has no mode for it
        return False
    finally:
        file.seek(0)


def write_tiff(
    file: IO[bytes], strips: Iterator[np.ndarray], shape: tuple[int, int, int], dtype: np.dtype,
    icc: bytes | None = None, exif: dict[int, Any] | None = None, dpi: tuple[float, float] | None = None,
    xmp: bytes | None = None,
) -> None:  # fmt: skip
    """Write an image of `shape` (H, W, C) from its strips (TILE rows or fewer in the last, W, C), one at a time.

    Args:
        exif: tags with subdirectories as dicts.
        dpi: resolution along x and y.
    """
    exif, channels = exif or {}, shape[2]
    big = shape[0] * shape[1] * channels * dtype.itemsize > BIG
    # As bytes, because tifffile refuses text that is not ASCII. Exporters write UTF-8 there.
    tags: list[tuple] = [
        (tag, TYPE_ASCII, 0, text.encode(), True) for tag, text in exif.items() if isinstance(text, str)
    ]
    tags += [(XMP_TAG, TYPE_BYTE, len(xmp), xmp, True)] if xmp else []
    pointers = [tag for tag in (EXIF_IFD, GPS_IFD) if tag in exif]
    # tifffile cannot write pointers to subdirectories: placeholders with the tag number below are patched afterwards.
    tags += [(tag - 1, TYPE_LONG8 if big else TYPE_LONG, 1, 0, True) for tag in pointers]
    tifffile.imwrite(
        file,
        _tiles(strips, channels),
        shape=shape if channels > 1 else shape[:2],
        dtype=dtype,
        tile=(TILE, TILE),
        bigtiff=big,
        byteorder="<",
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        predictor=True,
        iccprofile=icc,
        resolution=dpi,
        resolutionunit="inch" if dpi else None,
        extratags=tags,
        metadata=None,
        software=False,
    )
    _append_directories(file, {tag: exif[tag] for tag in pointers}, big)


def _tiles(strips: Iterator[np.ndarray], channels: int) -> Iterator[np.ndarray]:
    """Cut strips into whole tiles. Tiles that extend beyond the image repeat its border, which compresses best."""
    for strip in strips:
        rows, width, _ = strip.shape
        padded = np.pad(strip, ((0, TILE - rows), (0, -width % TILE), (0, 0)), mode="edge")
        for left in range(0, width, TILE):
            tile = padded[:, left : left + TILE]
            yield np.ascontiguousarray(tile if channels > 1 else tile[..., 0])


def _append_directories(file: IO[bytes], directories: dict[int, dict], big: bool) -> None:
    """Append the EXIF subdirectories and turn the placeholders into pointers to them."""
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) if big else struct.pack("<2sHI", b"II", 42, 8)
    for tag, values in directories.items():
        directory = ImageFileDirectory_v2(head)
        for key, value in values.items():
            directory[key] = value
        place = file.seek(0, 2)
        place += file.write(b"\0" * (place % 2))
        file.write(directory.tobytes(place))
        file.seek(0)
        with tifffile.TiffFile(file) as tiff:
            held = tiff.pages.first.tags[tag - 1]
        file.seek(held.offset)
        file.write(struct.pack("<H", tag))
        file.seek(held.valueoffset)
        file.write(struct.pack("<Q" if big else "<I", place))
