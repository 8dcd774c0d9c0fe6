"""Image files and Pillow images to pixels, together with the metadata that an output keeps."""
from __future__ import annotations

import os
import stat
import warnings
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import cv2
import numpy as np
from PIL import Image, ImageCms

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.formats import open_image
from liif_basicsr.images.notes import collect_notes

ORIENTATION, EXIF_IFD, GPS_IFD, PIXEL_X, PIXEL_Y = 0x0112, 0x8769, 0x8825, 0xA002, 0xA003
# The tags of the first directory that describe the image; in a TIFF, others describe how its pixels are stored.
KEPT_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, EXIF_IFD, GPS_IFD)
UNREADABLE_DEPTH = "has 16-bit pixels stored in a way that cannot be read; save it as a 16-bit PNG"
# EXIF orientation -> transpose first, then flip rows, then flip columns
TURNS = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
    6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip


class LoadedImage(NamedTuple):
    """An image with its metadata.

    pixels: uint8 or uint16 (H, W, C); C: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
    icc: the colour profile, if there is one that fits the channels.
    exif: the EXIF tags that an output keeps, with subdirectories as dicts; the orientation is already applied.
    notes: harmless faults of the file, a line each.
    """

    pixels: np.ndarray
    icc: bytes | None
    exif: dict[int, Any]
    notes: tuple[str, ...] = ()

    def exif_for(self, size: tuple[int, int]) -> dict[int, Any]:
        """EXIF for an output of `size` (H, W); the pixel dimensions are updated if the input stated its own."""
        inner = dict(self.exif.get(EXIF_IFD, {}))
        if PIXEL_X in inner or PIXEL_Y in inner:
            inner.update({PIXEL_Y: size[0], PIXEL_X: size[1]})
        return {**self.exif, EXIF_IFD: inner} if inner else self.exif

    def exif_bytes(self, size: tuple[int, int]) -> bytes:
        """`exif_for` as the bytes of an EXIF block; empty if there is no EXIF."""
        exif = Image.Exif()
        exif.update(self.exif_for(size))
        return exif.tobytes() if self.exif else b""


def read(path: Path) -> LoadedImage:
    """Read an image file; its content decides the format, not its name.

    Raises:
        LIIFError: it cannot be read, is corrupt, too large, not an image, or has an unsupported kind of pixel.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise LIIFError("is not a regular file")
        with open(path, "rb") as file, collect_notes() as notes:
            with open_image(file, "get another copy") as image:
                loaded = from_image(image, file)
    except OSError as error:
        raise LIIFError(f"cannot be read: {error.strerror or error}") from None
    return loaded._replace(notes=tuple(notes))


def read_srgb(path: str | Path) -> Image.Image:
    """Read an image file for the screen, see `to_srgb`.

    Warns:
        UserWarning: the file has a harmless fault.

    Raises:
        LIIFError: as `read`; the message starts with the path.
    """
    return to_srgb(read_named(path))


def read_named(path: str | Path) -> LoadedImage:
    """Read an image file; what is wrong with it starts with its path.

    Warns:
        UserWarning: the file has a harmless fault.

    Raises:
        LIIFError: as `read`; the message starts with the path.
    """
    try:
        loaded = read(Path(path))
    except LIIFError as error:
        raise LIIFError(f"{path}: {error}") from None
    for note in loaded.notes:
        warnings.warn(note, stacklevel=2)
    return loaded


def to_srgb(loaded: LoadedImage) -> Image.Image:
    """An image for the screen: 8-bit sRGB, with transparent parts on white.

    Warns:
        UserWarning: its colour profile is damaged.
    """
    pixels = loaded.pixels
    if pixels.dtype == np.uint16:
        pixels = (pixels / 257).round().astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if "A" in image.getbands():
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return _to_srgb(image.convert("RGB"), loaded.icc if pixels.shape[2] > 2 else None)


def from_image(image: Image.Image, file: IO[bytes] | None = None) -> LoadedImage:
    """Convert a Pillow image to pixels.

    Args:
        file: the file that it was opened from, to read 16-bit colours, which Pillow does not support.

    Raises:
        LIIFError: it has more than one frame, or a kind of pixel whose range is unknown.
    """
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise LIIFError(f"has {frames} frames; enlarge them one by one, as files of their own")
    if image.format == "PPM" and image.mode == "RGB" and _max_value(image) > 255:
        raise LIIFError(UNREADABLE_DEPTH)
    image.load()
    pixels = _deep_colours(image, file) if file else None
    if pixels is None:
        pixels = _pixels(image)
    exif = image.getexif()
    kept = {tag: exif.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else exif[tag] for tag in KEPT_TAGS if tag in exif}
    space = b"GRAY" if pixels.shape[2] <= 2 else b"RGB "
    icc = image.info.get("icc_profile")
    icc = icc if isinstance(icc, bytes) and icc[16:20] == space else None
    return LoadedImage(_turned(pixels, exif.get(ORIENTATION)), icc, kept)


def _pixels(image: Image.Image) -> np.ndarray:
    """The pixels that Pillow holds, (H, W, C)."""
    if image.mode.startswith("I;16") or (image.format, image.mode) == ("PPM", "I"):
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise LIIFError(f"has {image.mode} pixels, which cannot be enlarged; save it as 8 or 16 bits")
    if image.mode == "CMYK":
        return np.asarray(_to_srgb(image, image.info.get("icc_profile")))
    gray = image.mode in ("1", "L", "LA", "La")
    pixels = np.asarray(image.convert(("L" if gray else "RGB") + "A" * image.has_transparency_data))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB by the colour profile, or without one if it is missing or damaged."""
    if profile:
        try:
            source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            return cast(Image.Image, ImageCms.profileToProfile(image, source, target, outputMode="RGB"))
        except (ImageCms.PyCMSError, OSError) as error:
            warnings.warn(f"its colour profile is damaged and not used: {error}", stacklevel=2)
    return image.convert("RGB")


def _deep_colours(image: Image.Image, file: IO[bytes]) -> np.ndarray | None:
    """The pixels of a PNG or TIFF with several channels of 16 bits, uint16 (H, W, C); None for any other image."""
    file.seek(0)
    head = file.read(26)
    if image.format == "PNG":
        deep, gray = head[24] == 16, head[25] in (0, 4)
    else:
        deep = image.format == "TIFF" and 16 in getattr(image, "tag_v2", {}).get(258, ())
        gray = len(image.getbands()) < 3
    if not deep or image.mode.startswith("I"):
        return None
    file.seek(0)
    pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape[:2] != (image.height, image.width):
        raise LIIFError(UNREADABLE_DEPTH)
    if pixels.ndim == 2:
        return pixels[..., None]
    if gray:
        return pixels[..., [0, 3]] if pixels.shape[2] == 4 else pixels[..., :1]
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _max_value(image: Any) -> int:
    """The largest value that a colour in a PPM file may have, from the arguments of Pillow's decoder."""
    arguments = [tile[3] for tile in image.tile]  # such as "RGB", or ("RGB", 65535)
    return max((given[1] for given in arguments if isinstance(given, tuple) and len(given) == 2), default=255)


def _turned(pixels: np.ndarray, orientation: object) -> np.ndarray:
    transpose, rows, cols = TURNS.get(orientation, (False, False, False))  # type: ignore[call-overload]
    pixels = pixels.swapaxes(0, 1) if transpose else pixels
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if cols else 1])
