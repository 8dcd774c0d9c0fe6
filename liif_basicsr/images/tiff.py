"""Read TIFF layouts that Pillow misreads, and write tiled TIFF files, as BigTIFF if a file may exceed 4 GiB."""
from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from operator import index
from typing import IO, Any, NamedTuple

import numpy as np
import tifffile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from liif_basicsr.errors import LIIFError, summarize
from liif_basicsr.images.formats import check_pixel_count, decode_deep
from liif_basicsr.images.georeference import KEYS, scaled_tags
from liif_basicsr.images.loaded import DTYPES, EXIF_IFD, GPS_IFD, LoadedImage
from liif_basicsr.rendering.memory import STRIP_ROWS

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
XMP_TAG = 700
MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2  # PhotometricInterpretation
SEPARATE = 2  # PlanarConfiguration
ASSOCIATED, UNASSOCIATED = 1, 2  # ExtraSamples
REDUCED, MASK = 1, 4  # NewSubfileType
DECODED_BY_OPENCV = {"uint16": (1, 3, 4), "float32": (1, 3)}  # pixel type -> supported numbers of bands
TILE = STRIP_ROWS
# Images with more bytes of pixels are written as BigTIFF, because other TIFF files have at most 4 GiB. Compression may
# enlarge the pixels, but never to twice the size.
BIG = 1 << 31
UNSUPPORTED = "which are not supported; save it with 8 or 16 bits or as float32"
TYPE_BYTE, TYPE_ASCII, TYPE_SHORT, TYPE_LONG, TYPE_DOUBLE, TYPE_LONG8 = 1, 2, 3, 4, 12, 16


class TiffPage(NamedTuple):
    """Layout of the first page of a TIFF file.

    Attributes:
        page: the page in tifffile's representation.
        dtype: type of the pixels, in the machine's byte order.
        colors: number of color bands: 3 for RGB, 1 for gray and for bands that are not colors.
        alpha: ASSOCIATED or UNASSOCIATED if the last band is opacity, else None.
        plain: whether the page contains interleaved 8-bit gray or RGB pixels that Pillow reads correctly.
    """

    page: Any
    dtype: np.dtype
    colors: int
    alpha: int | None
    plain: bool


def open_page(file: IO[bytes]) -> TiffPage | None:
    """Return the layout of a file that starts with one of MAGICS, without decoding its pixels.

    Overviews and masks of the image are ignored.

    Returns:
        The layout, or None if Pillow reads the file without loss.

    Raises:
        LIIFError: the file is damaged or too large, or has several pages or an unsupported pixel type.
    """
    try:
        with tifffile.TiffFile(file) as tiff:
            frames = len(tiff.pages)
            if not frames:
                raise ValueError("it contains no page")
            page = tiff.pages.first
            kinds = [getattr(tiff.pages[k], "subfiletype", 0) for k in range(1, frames)]
            bits, dtype, photometric = page.bitspersample, page.dtype, page.photometric
            bands, extra = page.samplesperpixel, tuple(map(int, page.extrasamples))
            size = index(page.imagelength), index(page.imagewidth)
            if 0 in size:
                raise ValueError("it contains no pixels")
    except Exception as error:  # tifffile raises almost any exception for damaged files
        raise _corrupt(error) from None
    finally:
        file.seek(0)
    check_pixel_count(size[0] * size[1])
    pages = 1 + sum(not kind & (REDUCED | MASK) for kind in kinds)
    if pages > 1:
        raise LIIFError(f"has {pages} pages; save each page as a separate file, or all of them as bands of one page")
    if isinstance(bits, tuple):
        raise LIIFError(f"has bands of {', '.join(map(str, bits))} bits, {UNSUPPORTED}")
    known = photometric in (MIN_IS_WHITE, MIN_IS_BLACK, RGB)
    if bits < 8 or (bits == 8 and not known):
        return None
    if bits not in (8, 16, 32, 64) or dtype is None or dtype.kind not in "uif":
        raise LIIFError(f"has {dtype or f'{bits}-bit'} pixels, {UNSUPPORTED}")
    if not known:
        space = getattr(photometric, "name", photometric)
        raise LIIFError(f"has {dtype} pixels in the color space {space}, which is not supported; save it as RGB or as "
                        "plain bands")  # fmt: skip
    colors = 3 if photometric == RGB else 1
    alpha = next((kind for kind in extra[-1:] if kind in (ASSOCIATED, UNASSOCIATED)), None) if bands > colors else None
    plain = dtype == np.uint8 and not is_planar(page) and bands == colors + (alpha is not None)
    if bands == 2 and alpha == ASSOCIATED:  # Pillow before version 13 cannot open such files
        plain = False
    return TiffPage(page, dtype.newbyteorder("="), colors, alpha, plain)


def read_page(file: IO[bytes], opened: TiffPage) -> LoadedImage:
    """Read the pixels of a page that Pillow does not read correctly.

    Raises:
        LIIFError: the pixels are damaged or stored in an unsupported way.
    """
    if opened.dtype.name not in DTYPES:
        raise LIIFError(f"has {opened.dtype} pixels, {UNSUPPORTED}")
    pixels = decode_page(file, opened.page)
    alpha, premultiplied = opened.alpha is not None, opened.alpha == ASSOCIATED
    if premultiplied and pixels.dtype.kind in "ui":
        pixels, premultiplied = unassociate(pixels), False
    pixels = np.ascontiguousarray(pixels)
    return LoadedImage(pixels, rgb=opened.colors == 3, alpha=alpha, premultiplied=premultiplied)


def _corrupt(error: Exception) -> LIIFError:
    return LIIFError(f"is corrupt ({summarize(error)}); get another copy")


def is_planar(page: Any) -> bool:
    """Return whether the bands of a page are stored one after another."""
    return page.planarconfig == SEPARATE and page.samplesperpixel > 1


def decode_page(file: IO[bytes], page: Any) -> np.ndarray:
    """Decode a page to pixels (H, W, C) in the machine's byte order.

    Unsigned gray is inverted if the file stores white as 0. The orientation is ignored.

    Raises:
        LIIFError: the page is damaged, or its compression is not supported without imagecodecs.
    """
    try:
        samples = page.asarray().reshape(page.shaped)  # (planes, depth, H, W, samples)
        samples = samples.astype(samples.dtype.newbyteorder("="))
        pixels = np.moveaxis(samples[:, 0, :, :, 0], 0, -1) if is_planar(page) else samples[0, 0]
    except Exception as error:
        if "imagecodecs" not in str(error):
            raise _corrupt(error) from None
        if is_planar(page) or page.samplesperpixel not in DECODED_BY_OPENCV.get(page.dtype.name, ()):
            compression = getattr(page.compression, "name", page.compression)
            raise LIIFError(f"is compressed by {compression} in a layout that needs imagecodecs; run "
                            "pip install imagecodecs, or save it without compression") from None  # fmt: skip
        file.seek(0)
        pixels = decode_deep(without_orientation(file.read()), (page.imagelength, page.imagewidth), page.dtype)
    if page.photometric == MIN_IS_WHITE and pixels.dtype.kind == "u":
        pixels[..., 0] = np.iinfo(pixels.dtype).max - pixels[..., 0]
    return pixels


def unassociate(pixels: np.ndarray) -> np.ndarray:
    """Return pixels (H, W, C) whose premultiplied colors are divided by alpha, the last band."""
    most, alpha = np.iinfo(pixels.dtype).max, pixels[..., -1:].astype(np.float64)
    colors = pixels[..., :-1] * (most / np.maximum(alpha, 1))
    return np.concatenate([colors.round().clip(0, most).astype(pixels.dtype), pixels[..., -1:]], axis=-1)


def without_orientation(content: bytes) -> bytes:
    """Reset the orientation tag of a TIFF, because Pillow and OpenCV would apply it. Return other files unchanged."""
    if not content.startswith(MAGICS):
        return content
    try:
        with tifffile.TiffFile(BytesIO(content)) as tiff:
            tag = tiff.pages.first.tags.get("Orientation")
            order = tiff.byteorder
    except Exception:  # the decoder's error message is better
        return content
    if tag is None:
        return content
    offset = tag.valueoffset
    return content[:offset] + struct.pack(f"{order}H", 1) + content[offset + 2 :]


def read_tags(file: IO[bytes]) -> dict[int, Any]:
    """Return the intact tags of the first page of a TIFF by number, with the EXIF subdirectories as dicts.

    Text is read as Latin-1.
    """
    head = file.read(16)
    order, big = ("<" if head.startswith(b"II") else ">"), b"+" in head[:4]
    (first,) = struct.unpack_from(f"{order}Q", head, 8) if big else struct.unpack_from(f"{order}I", head, 4)

    def read(offset: Any, group: int | None = None) -> dict[int, Any]:
        directory = ImageFileDirectory_v2(head[:2] + (b"*\0" if order == "<" else b"\0*") + bytes(4), group=group)
        directory._bigtiff = big  # Pillow recognizes only little-endian BigTIFF files
        found = {}
        with suppress(Exception):  # Pillow raises several types for damaged directories
            file.seek(offset)
            directory.load(file)
        for tag in directory:
            with suppress(Exception):
                found[tag] = directory[tag]
        return found

    tags = read(first)
    return tags | {tag: read(tags[tag], tag) for tag in (EXIF_IFD, GPS_IFD) if tag in tags}


def write_tiff(
    file: IO[bytes], strips: Iterator[np.ndarray], shape: tuple[int, int, int], source: LoadedImage
) -> None:
    """Write an image of `shape` (H, W, C) strip by strip.

    Args:
        strips: (TILE, W, C); the last one may have fewer rows.
        source: image with the pixel type, the meaning of the bands, and the metadata of the output.
    """
    exif = source.exif_for(shape[:2]) if source.exif_bytes(shape[:2]) else {}  # drops what Pillow cannot encode
    channels, dtype = shape[2], source.dtype
    big = shape[0] * shape[1] * channels * dtype.itemsize > BIG
    # Text is passed as bytes, because tifffile refuses text that is not ASCII. Many programs write UTF-8 here.
    tags: list[tuple] = [
        (tag, TYPE_ASCII, 0, text.encode(), True) for tag, text in exif.items() if isinstance(text, str)
    ]
    tags += [(XMP_TAG, TYPE_BYTE, len(source.xmp), source.xmp, True)] if source.xmp else []
    tags += _geo_entries(source, shape[:2])
    pointers = [tag for tag in (EXIF_IFD, GPS_IFD) if tag in exif]
    # tifffile cannot write pointers to subdirectories. It writes placeholders, whose tag numbers are lower by one, and
    # `_append_directories` turns them into pointers.
    tags += [(tag - 1, TYPE_LONG8 if big else TYPE_LONG, 1, 0, True) for tag in pointers]
    colors = 3 if source.has_rgb and channels >= 3 else 1
    last = ("assocalpha" if source.premultiplied else "unassalpha") if source.has_alpha else "unspecified"
    extra = ["unspecified"] * (channels - colors - 1) + [last] * (channels > colors)
    tifffile.imwrite(
        file,
        _tiles(strips, channels),
        shape=shape if channels > 1 else shape[:2],
        dtype=dtype,
        tile=(TILE, TILE),
        bigtiff=big,
        byteorder="<",
        photometric="rgb" if colors == 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=extra or None,
        compression="zlib",
        predictor=dtype.kind in "ui",  # the predictor for floats needs imagecodecs
        iccprofile=source.icc,
        resolution=source.dpi,
        resolutionunit="inch" if source.dpi else None,
        extratags=tags,
        metadata=None,
        software=False,
    )
    _append_directories(file, {tag: exif[tag] for tag in pointers}, big)


def _geo_entries(source: LoadedImage, size: tuple[int, int]) -> list[tuple]:
    """Return the tags of a GeoTIFF for an output of `size` (H, W), in the form that tifffile takes."""
    entries: list[tuple] = []
    for tag, value in scaled_tags(source.tags, source.size, size).items():
        if isinstance(value, str):
            entries.append((tag, TYPE_ASCII, 0, value.encode("latin-1", "replace"), True))
        else:
            entries.append((tag, TYPE_SHORT if tag == KEYS else TYPE_DOUBLE, len(value), tuple(value), True))
    return entries


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
        directory = ImageFileDirectory_v2(head, group=tag)
        for key, value in values.items():
            directory[key] = value
        offset = file.seek(0, 2)
        offset += file.write(b"\0" * (offset % 2))
        file.write(directory.tobytes(offset))
        file.seek(0)
        with tifffile.TiffFile(file) as tiff:
            placeholder = tiff.pages.first.tags[tag - 1]
        file.seek(placeholder.offset)
        file.write(struct.pack("<H", tag))
        file.seek(placeholder.valueoffset)
        file.write(struct.pack("<Q" if big else "<I", offset))
