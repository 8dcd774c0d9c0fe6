"""Image files and Pillow's images to pixels, with what is to be kept beside them."""
from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import cv2
import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from liif_basicsr.images.notes import noted
from liif_basicsr.utils.errors import LIIFError

# No others are opened: some of Pillow's readers start programs.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
ORIENTATION, EXIF_IFD, GPS_IFD, PIXEL_X, PIXEL_Y = 0x0112, 0x8769, 0x8825, 0xA002, 0xA003
# What an image's first directory says about the image; in a TIFF it also says how its pixels are stored.
KEPT_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, EXIF_IFD, GPS_IFD)
# EXIF orientation -> transpose first, then flip rows, then flip columns
TURNS = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
    6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip


class LoadedImage(NamedTuple):
    """An image and what is known about it.

    pixels: uint8 or uint16 (H, W, C); C: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
    icc: its colour profile, if it has one that fits its channels.
    exif: what is kept of its EXIF, tag to value, a directory within as a dict; the orientation has been applied.
    notes: what was found wrong but could be passed over.
    """

    pixels: np.ndarray
    icc: bytes | None
    exif: dict[int, Any]
    notes: tuple[str, ...] = ()

    def exif_for(self, size: tuple[int, int]) -> dict[int, Any]:
        """The EXIF of an output of `size` (H, W), which it names if it named the input's."""
        inner = dict(self.exif.get(EXIF_IFD, {}))
        if PIXEL_X in inner or PIXEL_Y in inner:
            inner.update({PIXEL_Y: size[0], PIXEL_X: size[1]})
        return {**self.exif, EXIF_IFD: inner} if inner else self.exif

    def exif_bytes(self, size: tuple[int, int]) -> bytes:
        """The same as a file holds it; empty if there is none."""
        exif = Image.Exif()
        exif.update(self.exif_for(size))
        return exif.tobytes() if self.exif else b""


def read(path: Path) -> LoadedImage:
    """Read an image file, by its content whatever its name says.

    Raises:
        LIIFError: it cannot be read, is no image of FORMATS, is corrupt, too large, or of a kind that is not known.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise LIIFError("is no file")
        with open(path, "rb") as file, noted() as notes:
            with _told(), Image.open(file, formats=FORMATS) as image:
                loaded = from_image(image, file)
    except OSError as error:
        raise LIIFError(f"cannot be read: {error.strerror or error}") from None
    return loaded._replace(notes=tuple(notes))


@contextmanager
def _told() -> Iterator[None]:
    """Whatever Pillow says within the context becomes one line."""
    try:
        yield
    except LIIFError:
        raise
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise LIIFError(f"has more than {most / 1e6:.0f} million pixels, which may be an attack; cut it") from None
    except UnidentifiedImageError:
        raise LIIFError("is no PNG, JPEG, WebP, TIFF or BMP image, or its head is corrupt") from None
    except Exception as error:  # Pillow's readers let almost any exception out on corrupt files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LIIFError(f"is corrupt ({reason[:120]}); get it again") from None


def from_image(image: Image.Image, file: IO[bytes] | None = None) -> LoadedImage:
    """A Pillow image as pixels.

    Args:
        file: where it was opened from, for 16-bit colours, which Pillow does not have.

    Raises:
        LIIFError: more than one frame, or a kind of pixel that has no known range.
    """
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise LIIFError(f"has {frames} frames; enlarge them one by one, as files of their own")
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
    """(H, W, C) of what Pillow holds."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise LIIFError(f"has pixels of a kind ({image.mode}) that cannot be enlarged; save it as 8 or 16 bits")
    if image.mode == "CMYK":
        return np.asarray(to_srgb(image, image.info.get("icc_profile")))
    gray = image.mode in ("1", "L", "LA", "La")
    pixels = np.asarray(image.convert(("L" if gray else "RGB") + "A" * image.has_transparency_data))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """As a screen shows it, RGB: by the colour profile where there is a sound one."""
    if profile:
        try:
            source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            return cast(Image.Image, ImageCms.profileToProfile(image, source, target, outputMode="RGB"))
        except (ImageCms.PyCMSError, OSError) as error:
            warnings.warn(f"its colour profile is damaged and not used: {error}", stacklevel=2)
    return image.convert("RGB")


def _deep_colours(image: Image.Image, file: IO[bytes]) -> np.ndarray | None:
    """(H, W, C) uint16 of a PNG or TIFF with 16 bits in each of several channels; None where it is none."""
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
        raise LIIFError("has 16-bit pixels stored in a way that cannot be read; save it as a 16-bit PNG")
    if pixels.ndim == 2:
        return pixels[..., None]
    if gray:
        return pixels[..., [0, 3]] if pixels.shape[2] == 4 else pixels[..., :1]
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _turned(pixels: np.ndarray, orientation: object) -> np.ndarray:
    transpose, rows, cols = TURNS.get(orientation, (False, False, False))  # type: ignore[call-overload]
    pixels = pixels.swapaxes(0, 1) if transpose else pixels
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if cols else 1])
