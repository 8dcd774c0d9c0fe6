"""Read image files and Pillow images: pixels, and the metadata that an output keeps."""
from __future__ import annotations

import os
import re
import stat
import warnings
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from PIL import Image, ImageCms

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.formats import UNREADABLE_DEPTH, collect_notes, decode_deep, open_image, without_metadata
from liif_basicsr.images.tiff import EXIF_IFD, GPS_IFD, read_tiff

ORIENTATION, INTEROP_IFD, PIXEL_X, PIXEL_Y = 0x0112, 0xA005, 0xA002, 0xA003
# Tags of the first directory that describe the image. In a TIFF, others describe how its pixels are stored.
KEPT_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, EXIF_IFD, GPS_IFD)
# Texts of a PNG, the comment of a JPEG or GIF, and the resource of Photoshop with keywords and copyright
TEXTS = ("Title", "Author", "Description", "Copyright", "Disclaimer", "Warning", "Source", "Comment", "comment")
IPTC = 0x0404
SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # white, red, green, blue
# EXIF orientation -> transpose first, then flip rows, then flip columns
ORIENTATIONS = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
    6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip


class LoadedImage(NamedTuple):
    """An image with its metadata.

    pixels: uint8 or uint16 (H, W, C); C: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
    icc: color profile, if it fits the channels.
    exif: EXIF tags that an output keeps, with subdirectories as dicts; the orientation is already applied.
    notes: harmless faults of the file, one line each.
    dpi: resolution along x and y in pixels per inch.
    xmp: XMP packet.
    """

    pixels: np.ndarray
    icc: bytes | None
    exif: dict[int, Any]
    notes: tuple[str, ...] = ()
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None

    def exif_for(self, size: tuple[int, int]) -> dict[int, Any]:
        """Return EXIF for an output of `size` (H, W). Pixel dimensions are updated where the input has them."""
        exif = {tag: _exact_text(value) for tag, value in self.exif.items()}
        for tag in (EXIF_IFD, GPS_IFD):
            if tag in exif:
                exif[tag] = {key: _exact_text(value) for key, value in exif[tag].items()}
        inner = exif.get(EXIF_IFD, {})
        if PIXEL_X in inner or PIXEL_Y in inner:
            inner.update({PIXEL_Y: size[0], PIXEL_X: size[1]})
        return exif

    def exif_bytes(self, size: tuple[int, int]) -> bytes:
        """Return `exif_for` as an EXIF block, or empty bytes without EXIF.

        Warns:
            UserWarning: the EXIF cannot be written. It never prevents the image from being written.
        """
        if not self.exif:
            return b""
        exif = Image.Exif()
        exif.update(self.exif_for(size))
        try:
            return exif.tobytes()
        except Exception as error:  # Pillow raises struct.error, TypeError and others for odd values
            warnings.warn(f"EXIF is not kept, it cannot be written: {error}", stacklevel=2)
            return b""


class ExactText(str):
    """EXIF text that Pillow writes as the bytes that it was read from, instead of replacing non-ASCII characters."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the original bytes. Pillow reads EXIF as Latin-1, where every byte is a character."""
        try:
            return super().encode("latin-1")
        except UnicodeEncodeError:  # text that did not come from a file
            return super().encode("utf-8", "replace")


def _exact_text(value: Any) -> Any:
    return ExactText(value) if isinstance(value, str) else value


def read(path: Path) -> LoadedImage:
    """Read an image file. Its content decides the format, not its name.

    Raises:
        LIIFError: it cannot be read, is corrupt, too large, not an image, or has an unsupported kind of pixel.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise LIIFError("is not a regular file")
        with open(path, "rb") as file, collect_notes() as notes:
            loaded = _load(file)
    except OSError as error:
        raise LIIFError(f"cannot be read: {error.strerror or error}") from None
    return loaded._replace(notes=tuple(notes))


def _load(file: IO[bytes]) -> LoadedImage:
    tiff = read_tiff(file)
    if tiff is not None and not tiff.pillow_opens:
        return LoadedImage(tiff.pixels, tiff.icc, {})
    try:
        with open_image(file, "get another copy", read_only=True) as image:
            return from_image(image, file, None if tiff is None else tiff.pixels)
    except LIIFError:
        file.seek(0)
        content = file.read()
        intact = without_metadata(content, damaged_only=True)
        if intact == content:
            raise
    warnings.warn("its damaged metadata is not used", stacklevel=2)
    return _load(BytesIO(intact))


def read_srgb(path: str | Path) -> Image.Image:
    """Read an image file for the screen, see `to_srgb`.

    Warns:
        UserWarning: the file has a harmless fault.

    Raises:
        LIIFError: see `read`; the message starts with the path.
    """
    return to_srgb(read_named(path))


def read_named(path: str | Path) -> LoadedImage:
    """Read an image file; error messages start with its path.

    Warns:
        UserWarning: the file has a harmless fault.

    Raises:
        LIIFError: see `read`.
    """
    try:
        loaded = read(Path(path))
    except LIIFError as error:
        raise LIIFError(f"{path}: {error}") from None
    for note in loaded.notes:
        warnings.warn(note, stacklevel=2)
    return loaded


def to_srgb(loaded: LoadedImage) -> Image.Image:
    """Return an 8-bit sRGB image for the screen, with transparent parts on white.

    Warns:
        UserWarning: the color profile is damaged.
    """
    pixels = loaded.pixels
    if pixels.dtype == np.uint16:
        pixels = (pixels / 257).round().astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if "A" in image.getbands():
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return _to_srgb(image.convert("RGB"), loaded.icc if pixels.shape[2] > 2 else None)


def from_image(image: Image.Image, file: IO[bytes] | None = None, pixels: np.ndarray | None = None) -> LoadedImage:
    """Convert a Pillow image.

    Args:
        file: the file of the image, for 16-bit colors, which Pillow does not support.
        pixels: (H, W, C), used instead of the image's own.

    Warns:
        UserWarning: metadata is not kept.

    Raises:
        LIIFError: the image has several frames, or a kind of pixel whose range is unknown.
    """
    frames = 1 if image.format in ("MPO", "HEIF") else getattr(image, "n_frames", 1)
    if frames > 1:
        what = "pages" if image.format == "TIFF" else "frames of an animation"
        raise LIIFError(f"has {frames} {what}; save each one as a file of its own and upscale those")
    if image.format == "PPM" and image.mode == "RGB" and _max_value(image) > 255:
        raise LIIFError(UNREADABLE_DEPTH)
    if pixels is None:
        image.load()
        pixels = _deep_colors(image, file) if file is not None else None
    if pixels is None:
        pixels = _pixels(image)
    kept, orientation = _exif(image)
    space = b"GRAY" if pixels.shape[2] <= 2 else b"RGB "
    icc = image.info.get("icc_profile")
    icc = icc if isinstance(icc, bytes) and icc[16:20] == space else None
    _warn_of_lost_metadata(image, file, has_profile=icc is not None)
    upright = _apply_orientation(pixels, orientation)
    return LoadedImage(upright, icc, kept, (), _dpi(image, orientation), _xmp(image))


def _warn_of_lost_metadata(image: Image.Image, file: IO[bytes] | None, has_profile: bool) -> None:
    """Warn of color information and texts that no output keeps.

    Args:
        has_profile: the image has a color profile, which overrides other color information except cICP.
    """
    lost, gamma, primaries = [], image.info.get("gamma"), image.info.get("chromaticity")
    if gamma and not has_profile and abs(gamma - 1 / 2.2) > 0.02:
        lost.append(f"its gamma of {gamma:g} (gAMA) is not kept; the output is shown as sRGB")
    if primaries and not has_profile and np.abs(np.subtract(primaries, SRGB_PRIMARIES)).max() > 0.01:
        lost.append("its primaries (cHRM) are not kept; the output is shown as sRGB")
    if image.format == "PNG" and file is not None:
        file.seek(0)
        if b"cICP" in file.read(1 << 16).partition(b"IDAT")[0]:
            lost.append("its color space (cICP) is not kept; the output is shown as sRGB")
    texts = [key for key in TEXTS if key in image.info]
    texts += ["IPTC"] if IPTC in (image.info.get("photoshop") or {}) else []
    if texts:
        lost.append(f"its {', '.join(texts)} is not kept")
    for line in lost:
        warnings.warn(line, stacklevel=2)


def _exif(image: Image.Image) -> tuple[dict[int, Any], object]:
    """Return the EXIF tags to keep, and the orientation.

    Warns:
        UserWarning: the EXIF is damaged. It never prevents the image from being read.
    """
    try:
        exif = image.getexif()
        orientation = exif.get(ORIENTATION)
        kept = {tag: exif.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else exif[tag] for tag in KEPT_TAGS if tag in exif}
    except Exception:  # Pillow raises SyntaxError, struct.error and others
        warnings.warn("its EXIF is damaged and not used", stacklevel=2)
        return {}, None
    if EXIF_IFD in kept:
        # The pointer would lead nowhere, and maker notes parsed by Pillow (dicts) cannot be written back.
        kept[EXIF_IFD] = {
            tag: value for tag, value in kept[EXIF_IFD].items() if tag != INTEROP_IFD and not isinstance(value, dict)
        }
    return kept, orientation


def _dpi(image: Image.Image, orientation: object) -> tuple[float, float] | None:
    """Return the resolution along x and y of the upright image, if the file states a sensible one."""
    try:
        x, y = (float(value) for value in image.info.get("dpi", ()))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (1 <= x <= 60_000 and 1 <= y <= 60_000):
        return None
    return (y, x) if ORIENTATIONS.get(orientation, (False,))[0] else (x, y)  # type: ignore[call-overload]


def _xmp(image: Image.Image) -> bytes | None:
    """Return the XMP packet with the orientation reset, because it is applied to the pixels."""
    xmp = image.info.get("xmp") or getattr(image, "tag_v2", {}).get(700) or image.info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8")
    if not isinstance(xmp, bytes) or not xmp.strip(b"\0"):
        return None
    return re.sub(rb'(tiff:Orientation(?:\s*=\s*["\']|>))[2-8]', rb"\g<1>1", xmp.rstrip(b"\0"))


def _pixels(image: Image.Image) -> np.ndarray:
    """Return the pixels that Pillow decoded, (H, W, C)."""
    if image.mode.startswith("I;16") or (image.format, image.mode) == ("PPM", "I"):
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise LIIFError(f"has {image.mode} pixels, which are not supported; save it with 8 or 16 bits")
    if image.mode == "CMYK":
        return np.asarray(_to_srgb(image, image.info.get("icc_profile")))
    gray = image.mode in ("1", "L", "LA", "La")
    pixels = np.asarray(image.convert(("L" if gray else "RGB") + "A" * image.has_transparency_data))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB by the color profile, or without one if it is missing or damaged."""
    if profile:
        try:
            source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            return cast(Image.Image, ImageCms.profileToProfile(image, source, target, outputMode="RGB"))
        except (ImageCms.PyCMSError, OSError) as error:
            warnings.warn(f"its color profile is damaged and not used: {error}", stacklevel=2)
    return image.convert("RGB")


def _deep_colors(image: Image.Image, file: IO[bytes]) -> np.ndarray | None:
    """Return the pixels of a PNG with several channels of 16 bits, uint16 (H, W, C), or None for other images."""
    if image.format != "PNG":
        return None
    file.seek(0)
    head = file.read(26)
    if head[24] != 16 or image.mode.startswith("I"):
        return None
    file.seek(0)
    pixels = decode_deep(file.read(), (image.height, image.width))
    if head[25] in (0, 4):  # gray; OpenCV repeats it in three channels
        return pixels[..., [0, 3]] if pixels.shape[2] == 4 else pixels[..., :1]
    return pixels


def _max_value(image: Any) -> int:
    """Return the largest value of a color in a PPM file, from the arguments of Pillow's decoder."""
    arguments = [tile[3] for tile in image.tile]  # such as "RGB", or ("RGB", 65535)
    return max((given[1] for given in arguments if isinstance(given, tuple) and len(given) == 2), default=255)


def _apply_orientation(pixels: np.ndarray, orientation: object) -> np.ndarray:
    transpose, rows, cols = ORIENTATIONS.get(orientation, (False, False, False))  # type: ignore[call-overload]
    pixels = pixels.swapaxes(0, 1) if transpose else pixels
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if cols else 1])
