"""LoadedImage: pixels and the metadata that an output keeps."""
from __future__ import annotations

import warnings
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
PIXEL_X, PIXEL_Y = 0xA002, 0xA003
# Pixel types that are read, processed and written.
DTYPES = ("uint8", "uint16", "int16", "float16", "float32", "float64")


class LoadedImage(NamedTuple):
    """An image with its metadata.

    pixels: (H, W, C) of a type in DTYPES.
    icc: color profile, if it fits the channels.
    exif: EXIF tags that an output keeps, with subdirectories as dicts. The orientation is already applied.
    notes: harmless faults of the file, one line each.
    dpi: resolution along x and y in pixels per inch.
    xmp: XMP packet.
    rgb: whether the first three bands are red, green and blue. None means yes if there are three or four bands.
    alpha: whether the last band is opacity. None means yes if there are two or four bands.
    premultiplied: whether the colors are multiplied by the opacity.
    nodata: value of the pixels' type that marks missing pixels. NaN always marks them as well.
    tags: metadata that only the input's format supports: GeoTIFF tags by number, EXR attributes by name.
    names: names of the bands; empty if they have none.
    value_range: lowest and highest possible value. None means the limits of the type for unsigned integers.
        For other types, it means that the range is unknown.
    """

    pixels: np.ndarray
    icc: bytes | None = None
    exif: Any = MappingProxyType({})
    notes: tuple[str, ...] = ()
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    rgb: bool | None = None
    alpha: bool | None = None
    premultiplied: bool = False
    nodata: float | None = None
    tags: Any = MappingProxyType({})
    names: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.pixels.shape[0], self.pixels.shape[1], self.pixels.shape[2]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels."""
        return self.pixels.dtype

    @property
    def has_rgb(self) -> bool:
        """Whether the first three bands are red, green and blue."""
        return self.pixels.shape[2] in (3, 4) if self.rgb is None else self.rgb

    @property
    def has_alpha(self) -> bool:
        """Whether the last band is opacity."""
        return self.pixels.shape[2] in (2, 4) if self.alpha is None else self.alpha

    @property
    def is_photo(self) -> bool:
        """Whether the bands are gray or RGB, with or without opacity."""
        return self.pixels.shape[2] == (3 if self.has_rgb else 1) + self.has_alpha

    def exif_for(self, size: tuple[int, int]) -> dict[int, Any]:
        """Return the EXIF tags for an output of `size` (H, W). Tags that state the input's size are updated."""
        exif = {tag: _exact_text(value) for tag, value in self.exif.items()}
        for tag in (EXIF_IFD, GPS_IFD):
            if tag in exif:
                exif[tag] = {key: _exact_text(value) for key, value in exif[tag].items()}
        inner = exif.get(EXIF_IFD, {})
        if PIXEL_X in inner or PIXEL_Y in inner:
            inner.update({PIXEL_Y: size[0], PIXEL_X: size[1]})
        return exif

    def exif_bytes(self, size: tuple[int, int]) -> bytes:
        """Return the tags of `exif_for` as an EXIF block, or empty bytes if the input has no EXIF data.

        Warns:
            UserWarning: the EXIF data cannot be encoded. The image can still be written, without this data.
        """
        if not self.exif:
            return b""
        exif = Image.Exif()
        exif.update(self.exif_for(size))
        try:
            return exif.tobytes()
        except Exception as error:  # Pillow raises struct.error, TypeError and others for odd values
            warnings.warn(f"EXIF is not kept, because it cannot be written: {error}", stacklevel=2)
            return b""


class ExactText(str):
    """EXIF text that Pillow writes as its original bytes. In an ordinary str, Pillow replaces non-ASCII characters."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the original bytes. Pillow decodes EXIF as Latin-1, so each character is one byte."""
        try:
            return super().encode("latin-1")
        except UnicodeEncodeError:  # text that did not come from a file
            return super().encode("utf-8", "replace")


def _exact_text(value: Any) -> Any:
    return ExactText(value) if isinstance(value, str) else value
