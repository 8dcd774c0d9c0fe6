"""Decode image files without changing their bit depth, and convert arrays to tensors.

Pillow and OpenCV decode pictures. Numeric images that they do not support have readers of their own: TIFF of any depth
and number of bands, NumPy arrays, OpenEXR.
"""
from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from liif_basicsr.errors import LIIFError
from liif_basicsr.images import exr, npy
from liif_basicsr.images.formats import (
    PNG_SIGNATURE,
    check_depth,
    check_pixel_count,
    decode_deep,
    open_image,
    without_metadata,
)
from liif_basicsr.images.tiff import ASSOCIATED, MAGICS, decode_page, open_page, unassociate, without_orientation

REMEDY = "replace or remove it"
PNG_HEADER = PNG_SIGNATURE + b"\0\0\0\rIHDR"
# Number of channels and number of color channels (all except alpha), by Pillow's mode. Other modes have (3, 3).
CHANNELS = {"1": (1, 1), "L": (1, 1), "I": (1, 1), "I;16": (1, 1), "I;16B": (1, 1), "LA": (2, 1), "La": (2, 1),
            "RGBA": (4, 3), "RGBa": (4, 3), "PA": (4, 3)}  # fmt: skip
PNG_CHANNELS = {0: (1, 1), 2: (3, 3), 3: (3, 3), 4: (2, 1), 6: (4, 3)}  # by color type
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# Value ranges of pictures, by data type. The range of other data types is unknown.
RANGES = {np.dtype(np.uint8): (0, 255), np.dtype(np.uint16): (0, 65535)}


class Header(NamedTuple):
    """Size (H, W) and data type of an image file."""

    size: tuple[int, int]
    dtype: np.dtype


def decode(content: bytes, name: str, channels: int = 3) -> np.ndarray:
    """Decode an image file.

    If `channels` is 3, gray and palette images are converted to RGB. Alpha is dropped unless `channels` includes it.
    Metadata is ignored, even if it is damaged. This includes the EXIF orientation, as in the official code.

    Args:
        content: the file's bytes.
        name: the file's name in error messages.
        channels: number of channels to return.

    Returns:
        Array (H, W, channels) with the file's data type: uint8, uint16, or another integer or float type.

    Raises:
        LIIFError: the file is corrupt, truncated, too large or not an image, or its channels do not match `channels`.
    """
    with naming(name):
        values = _open_values(BytesIO(content))
        if values is not None:
            colors = _check_values(values, channels)
            pixels = values.read()
            if channels < pixels.shape[2] and values.premultiplied and pixels.dtype.kind == "u":
                pixels = unassociate(pixels)
            return _select(pixels, colors, channels)
        content = without_orientation(without_metadata(content))
        with open_image(BytesIO(content), REMEDY) as image:
            if content.startswith(PNG_HEADER) and content[24] == 16:
                image.load()  # raises for damaged data, which OpenCV ignores
                stored, colors = PNG_CHANNELS[content[25]]
                _check_channels(stored, colors, channels)
                return _select(decode_deep(content, (image.height, image.width)), colors, channels)
            _check_picture(image, channels)
            if image.mode.startswith("I"):  # a 16-bit PGM
                return np.repeat(np.asarray(image).astype(np.uint16)[..., None], channels, axis=2)
            mode = MODES[channels]
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
            return pixels.reshape(*pixels.shape[:2], channels)


def read_header(file: IO[bytes], name: str, channels: int = 3) -> Header:
    """Read the size and the data type of an image file from its header.

    Args:
        file: the opened file.
        name, channels: see `decode`.

    Raises:
        LIIFError: see `decode`.
    """
    with naming(name):
        head = file.read(33)
        file.seek(0)
        if head.startswith(PNG_HEADER) and len(head) == 33:
            width, height, bits, color, crc = struct.unpack(">IIBB3xI", head[16:])
            if width and height and crc == zlib.crc32(head[12:29]) and color in PNG_CHANNELS:
                _check_channels(*PNG_CHANNELS[color], channels)
                return Header((height, width), np.dtype(np.uint16 if bits == 16 else np.uint8))
        values = _open_values(file)
        if values is not None:
            _check_values(values, channels)
            return Header(values.shape[:2], values.dtype)
        if head.startswith(MAGICS):
            file = BytesIO(without_orientation(file.read()))
        with open_image(file, REMEDY) as image:
            _check_picture(image, channels)
            deep = image.mode.startswith("I")
            return Header((image.height, image.width), np.dtype(np.uint16 if deep else np.uint8))


class ValueFile(NamedTuple):
    """An opened image file whose pixels are read as raw numbers.

    shape: (H, W, C), where C includes the alpha channel.
    dtype: an integer or float type, in native byte order.
    read: function that decodes the pixels to an array of this shape and type.
    alpha: whether the last channel is alpha (opacity).
    premultiplied: whether the colors are multiplied by alpha.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    alpha: bool = False
    premultiplied: bool = False


def _open_values(file: IO[bytes]) -> ValueFile | None:
    """Read the header of a numeric image.

    Returns:
        The opened image, or None if Pillow should open the file instead: it has another format, or Pillow reads it
        without loss.

    Raises:
        LIIFError: the file's values or layout are not supported. The message starts with a verb, because the caller
            puts the file's name in front.
    """
    head = file.read(8)
    file.seek(0)
    openers = {**dict.fromkeys(MAGICS, _open_tiff), npy.MAGIC: _open_npy, exr.MAGIC: _open_exr}
    found = next((opener(file) for magic, opener in openers.items() if head.startswith(magic)), None)
    if found is not None:
        check_pixel_count(found.shape[0] * found.shape[1])
    return found


def _open_tiff(file: IO[bytes]) -> ValueFile | None:
    opened = open_page(file)
    if opened is None or opened.plain:
        return None
    page = opened.page
    shape = page.imagelength, page.imagewidth, page.samplesperpixel
    alpha, premultiplied = opened.alpha is not None, opened.alpha == ASSOCIATED
    return ValueFile(shape, opened.dtype, lambda: decode_page(file, page), alpha, premultiplied)


def _open_npy(file: IO[bytes]) -> ValueFile:
    header = npy.read_npy_header(file)
    return ValueFile(header.shape, header.dtype.newbyteorder("="), lambda: npy.read_npy_values(file, header))


def _open_exr(file: IO[bytes]) -> ValueFile:
    """Open an OpenEXR image; 16-bit floats become float32."""
    header = exr.read_exr_header(file)

    def read() -> np.ndarray:
        file.seek(0)
        return exr.read_exr(file).pixels.astype(np.float32, copy=False)

    shape = *header.size, len(header.names)
    return ValueFile(shape, np.dtype(np.float32), read, header.has_alpha, header.has_alpha)


def _select(pixels: np.ndarray, colors: int, channels: int) -> np.ndarray:
    """Return pixels with `channels` channels: drop alpha or repeat gray if needed."""
    if pixels.shape[2] != channels:
        pixels = pixels[..., :colors]
    return np.ascontiguousarray(pixels if pixels.shape[2] == channels else np.repeat(pixels, channels, axis=2))


def _check_picture(image: Image.Image, channels: int) -> None:
    """Raise unless Pillow reads the image without loss and the number of channels matches `channels`."""
    if image.mode in ("LAB", "HSV", "F"):
        raise LIIFError(f"has {image.mode} pixels, which are not supported; save the image as RGB")
    check_depth(image)
    _check_channels(*CHANNELS.get(image.mode, (3, 3)), channels)


def _check_values(values: ValueFile, channels: int) -> int:
    """Return the number of color channels (all except alpha). Raise unless the file matches `channels`."""
    stored = values.shape[2]
    colors = stored - values.alpha
    hint = "; save arrays as (H, W, C)" if values.shape[0] == channels != stored else ""
    _check_channels(stored, colors, channels, picture=values.dtype in RANGES, hint=hint)
    return colors


def _check_channels(stored: int, colors: int, channels: int, picture: bool = True, hint: str = "") -> None:
    """Raise unless a file can be read with `channels` channels.

    Args:
        stored: number of channels in the file.
        colors: number of channels without alpha.
        channels: expected number of channels.
        picture: whether gray may be converted to RGB.
        hint: replaces the usual remedy at the end of the error message.
    """
    if channels not in (stored, colors) and not (picture and channels == 3 and colors == 1):
        count = f"{stored} channel{'s' * (stored > 1)}{' including alpha' * (stored > colors)}"
        remedy = hint or f"; set channels: {colors}, or convert the file"
        raise LIIFError(f"has {count}, but channels is {channels}{remedy}")


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the file's name in front of every error message."""
    try:
        yield
    except LIIFError as error:
        raise LIIFError(f"{name} {error}") from None
    except OSError as error:
        raise LIIFError(f"{name} cannot be read: {error.strerror or error}") from None


def to_unit(image: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    """Map pixels to [0, 1] as float32.

    With the whole range of uint8, a uint8 image is returned unchanged, because `to_tensor` divides it by 255 later.

    Args:
        value_range: the values that become 0 and 1. None means the whole range of uint8 or uint16.
    """
    if image.dtype == np.uint8 and value_range in (None, RANGES[image.dtype]):
        return image
    low, high = value_range or RANGES[image.dtype]
    return (np.subtract(image, low, dtype=np.float64) / (high - low)).astype(np.float32)


def from_unit(image: np.ndarray, dtype: np.dtype, value_range: tuple[float, float] | None) -> np.ndarray:
    """Map values in [0, 1] back to the range and type of the data.

    Values are clamped to [0, 1] first.

    Args:
        image: float values.
        dtype: data type of the result. Integers are rounded. For any float type, the result is float32.
        value_range: the values that 0 and 1 become. None means the whole range of uint8 or uint16.
    """
    unit = image.clip(0, 1)
    if value_range is None:
        return (unit * RANGES[dtype][1]).round().astype(dtype)
    low, high = value_range
    values = low + unit.astype(np.float64) * (high - low)
    return values.astype(np.float32) if dtype.kind == "f" else values.round().astype(dtype)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Convert a picture to uint8 with rounding.

    Args:
        image: uint8 (returned unchanged), uint16, or float32 in [0, 1].
    """
    if image.dtype == np.uint8:
        return image
    return from_unit(image if image.dtype == np.float32 else to_unit(image, None), np.dtype(np.uint8), None)


def to_tensor(image: np.ndarray) -> Tensor:
    """Convert uint8 pixels, or float32 pixels in [0, 1], to a float32 tensor in [0, 1] of the same shape."""
    # Always copy: NumPy considers a view of a single pixel contiguous even if its strides are negative.
    tensor = torch.from_numpy(np.array(image, order="C"))
    return tensor.float().div_(255) if image.dtype == np.uint8 else tensor


def to_image_tensor(image: np.ndarray) -> Tensor:
    """Convert uint8 pixels, or float32 pixels in [0, 1], from (H, W, C) to a float32 tensor (C, H, W) in [0, 1]."""
    return to_tensor(image.transpose(2, 0, 1))


def to_pixels(image: Tensor) -> np.ndarray:
    """Clamp a CPU tensor (C, H, W) to [0, 1], and convert it with rounding to a uint8 array (H, W, C)."""
    return image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
