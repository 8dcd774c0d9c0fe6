"""Read image files and Pillow images: pixels, and the metadata that an output keeps."""
from __future__ import annotations

import os
import re
import stat
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from PIL import Image, ImageCms

from liif_basicsr.errors import LIIFError, errors_about
from liif_basicsr.images import exr, npy
from liif_basicsr.images.formats import check_depth, collect_notes, decode_deep, open_image, without_metadata
from liif_basicsr.images.georeference import GEO_TAGS, geo_tags, nodata_of, unplaced_tags
from liif_basicsr.images.loaded import EXIF_IFD, GPS_IFD, LoadedImage
from liif_basicsr.images.suffixes import check_not_raw
from liif_basicsr.images.tiff import MAGICS, XMP_TAG, open_page, read_page, read_tags, without_orientation
from liif_basicsr.images.values import describe_bands

ORIENTATION, INTEROP_IFD, ICC_TAG, DESCRIPTION = 0x0112, 0xA005, 34675, 0x010E
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, INCH = 282, 283, 296, 2
PER_INCH = {INCH: 1, 3: 2.54}  # by unit; 3 is the centimeter, and 1 means that the unit is unknown
# Tags of the first directory that describe the image. The other tags of a TIFF describe how its pixels are stored.
KEPT_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, EXIF_IFD, GPS_IFD)
# No output keeps texts in Pillow's `info`. The loss of these texts, and of texts with a colon in their names, is not
# reported, because they describe the input file, or repeat metadata that is kept.
UNREPORTED_TEXTS = ("Software", "Creation Time", "Raw profile type exif", "compression", "xmp")
IPTC = 0x0404  # a resource of Photoshop with keywords and copyright
# Tags of a TIFF that no output keeps. RPC is the camera model of a satellite image: rational polynomial coefficients.
LOST_TAGS = {269: "DocumentName", 33723: "IPTC", 50844: "RPC (camera model)"}
DEEP_PIXI = re.compile(rb"pixi\0{4}[\x01-\x04][\x09-\x10]")  # HEIC and AVIF: bits per channel, here more than 8
SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # white, red, green, blue
# EXIF orientation -> whether to transpose first, then to flip the rows, then to flip the columns.
ORIENTATIONS = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
    6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip


def read(path: Path) -> LoadedImage:
    """Read an image file. Its content, not its name, decides the format.

    Raises:
        LIIFError: the file cannot be read, is corrupt or too large, is not an image, or has an unsupported pixel type.
    """
    check_not_raw(path)
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: the name contains a null character
        raise LIIFError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(mode):
        raise LIIFError("is not a regular file")
    try:
        with open(path, "rb") as file, collect_notes() as notes:
            loaded = read_file(file)
    except OSError as error:
        raise LIIFError(f"cannot be read: {error.strerror or error}") from None
    return loaded._replace(notes=(*loaded.notes, *notes))


def read_file(file: IO[bytes]) -> LoadedImage:
    """Read an open image file, see `read`. Faults that do not prevent reading become warnings."""
    head = file.read(len(npy.MAGIC))
    file.seek(0)
    if head.startswith(npy.MAGIC):
        return npy.read_npy(file)
    if head.startswith(exr.MAGIC):
        return exr.read_exr(file)
    if head.startswith(MAGICS):
        return _read_tiff(file)
    try:
        with open_image(file, "get another copy", read_only=True) as image:
            return from_image(image, file)
    except LIIFError:
        file.seek(0)
        content = file.read()
        intact = without_metadata(content, damaged_only=True)
        if intact == content:
            raise
    warnings.warn("the damaged metadata is not used", stacklevel=2)
    return read_file(BytesIO(intact))


def read_srgb(path: str | Path) -> Image.Image:
    """Read an image file as 8-bit sRGB for display, see `to_srgb`.

    Warns:
        UserWarning: the file has a harmless fault.

    Raises:
        LIIFError: see `read` and `to_srgb`; the message starts with the path.
    """
    loaded = read_named(path)
    with errors_about(path):
        return to_srgb(loaded)


def read_named(path: str | Path) -> LoadedImage:
    """Read an image file. Error messages start with the file's path.

    Warns:
        UserWarning: the file has a harmless fault.

    Raises:
        LIIFError: see `read`.
    """
    with errors_about(path):
        loaded = read(Path(path))
    for note in loaded.notes:
        warnings.warn(note, stacklevel=2)
    return loaded


def to_srgb(loaded: LoadedImage) -> Image.Image:
    """Convert an image to 8-bit sRGB for display, with transparent parts on white.

    Warns:
        UserWarning: the color profile is damaged.

    Raises:
        LIIFError: the image is neither gray nor RGB, or its pixels are not unsigned integers.
    """
    pixels = loaded.pixels
    if not loaded.is_photo or pixels.dtype not in (np.uint8, np.uint16):
        raise LIIFError(f"has {describe_bands(loaded)} of {pixels.dtype}, which cannot be displayed; convert it to "
                        "8-bit gray or RGB")  # fmt: skip
    if pixels.dtype == np.uint16:
        pixels = (pixels / 257).round().astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if "A" in image.getbands():
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return _to_srgb(image.convert("RGB"), loaded.icc if pixels.shape[2] > 2 else None)


def from_image(image: Image.Image, file: IO[bytes] | None = None) -> LoadedImage:
    """Convert a Pillow image to a `LoadedImage`.

    Args:
        file: the open file of the image. 16-bit colors are decoded from it, because Pillow does not support them.

    Warns:
        UserWarning: some metadata is damaged or not kept.

    Raises:
        LIIFError: the image has several frames, no pixels, or an unsupported pixel type.
    """
    if 0 in image.size:
        raise LIIFError(f"has no pixels: its size is {image.width}x{image.height}")
    frames = getattr(image, "n_frames", 1)
    if image.format == "HEIF" and frames > 1:
        warnings.warn(f"has {frames} images, and only the primary one is used", stacklevel=2)
    elif image.format != "MPO" and frames > 1:  # the other images of an MPO are previews
        what, one = ("pages", "page") if image.format == "TIFF" else ("frames of an animation", "frame")
        raise LIIFError(f"has {frames} {what}; save each {one} as a separate file and upscale these files")
    check_depth(image)
    image.load()
    pixels = _deep_colors(image, file) if file is not None else None
    if pixels is None:
        pixels = _pixels(image)
    try:
        exif = image.getexif()
        wanted = (ORIENTATION, *KEPT_TAGS, *(GEO_TAGS if image.format == "TIFF" else ()))
        tags = {tag: exif.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else exif[tag] for tag in wanted if tag in exif}
    except Exception:  # Pillow raises SyntaxError, struct.error and others. The image is read without EXIF data.
        warnings.warn("the EXIF data is damaged and not used", stacklevel=2)
        tags = {}
    icc = None if image.mode == "CMYK" else image.info.get("icc_profile")  # used to convert the pixels to RGB
    xmp = image.info.get("xmp") or getattr(image, "tag_v2", {}).get(XMP_TAG) or image.info.get("XML:com.adobe.xmp")
    loaded = _with_metadata(LoadedImage(pixels), tags, icc, image.info.get("dpi", ()), xmp)
    _warn_of_lost_metadata(image, file, has_profile=loaded.icc is not None)
    return loaded


def _warn_of_lost_metadata(image: Image.Image, file: IO[bytes] | None, has_profile: bool) -> None:
    """Warn about color information, depth and texts that no output keeps.

    Args:
        has_profile: whether the image has a color profile, which overrides other color information except cICP.
    """
    lost, gamma, primaries = [], image.info.get("gamma"), image.info.get("chromaticity")
    if gamma and not has_profile and abs(gamma - 1 / 2.2) > 0.02:
        lost.append(f"the gamma of {gamma:g} (gAMA) is not kept; the output is shown as sRGB")
    if primaries and not has_profile and np.abs(np.subtract(primaries, SRGB_PRIMARIES)).max() > 0.01:
        lost.append("the primaries (cHRM) are not kept; the output is shown as sRGB")
    with suppress(Exception):  # no such tag, or damaged EXIF data
        if not has_profile and image.getexif().get_ifd(INTEROP_IFD)[1] == "R03":
            lost.append("the color space Adobe RGB (InteropIndex) is not kept; the output is shown as sRGB")
    if file is not None:
        file.seek(0)
        head = file.read(1 << 16)
        if image.format == "PNG" and b"cICP" in head.partition(b"IDAT")[0]:
            lost.append("the color space (cICP) is not kept; the output is shown as sRGB")
        if image.format in ("HEIF", "AVIF") and DEEP_PIXI.search(head):
            lost.append("the pixels have more than 8 bits and are rounded to 8 bits")
    texts = [str(key) for key, value in image.info.items() if isinstance(value, str) or key == "comment"]
    texts = [key for key in texts if key not in UNREPORTED_TEXTS and ":" not in key]
    texts += ["IPTC"] if IPTC in (image.info.get("photoshop") or {}) else []
    if texts:
        lost.append(f"the metadata {', '.join(texts[:9])}{', ...' * (len(texts) > 9)} is not kept")
    for line in lost:
        warnings.warn(line, stacklevel=2)


def _read_tiff(file: IO[bytes]) -> LoadedImage:
    """Read a TIFF.

    Warns:
        UserWarning: some metadata is damaged or not kept.
    """
    opened, tags = open_page(file), read_tags(file)
    icc = tags.get(ICC_TAG)
    if opened is not None and not opened.plain:
        loaded = read_page(file, opened)
    else:
        if tags.get(ORIENTATION, 1) != 1:
            file.seek(0)
            file = BytesIO(without_orientation(file.read()))
        with open_image(file, "get another copy") as image:
            loaded = LoadedImage(_pixels(image))
            icc = None if image.mode == "CMYK" else icc  # used to convert the pixels to RGB
    lost = [name for tag, name in LOST_TAGS.items() if tag in tags]
    if lost:
        warnings.warn(f"the metadata {', '.join(lost)} is not kept", stacklevel=2)
    try:
        per_inch = PER_INCH[tags.get(RESOLUTION_UNIT, INCH)]
        dpi = tuple(float(tags[tag]) * per_inch for tag in (X_RESOLUTION, Y_RESOLUTION))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        dpi = ()
    return _with_metadata(loaded, tags, icc, dpi, tags.get(XMP_TAG))


def _with_metadata(image: LoadedImage, tags: dict[int, Any], icc: object, dpi: Any, xmp: object) -> LoadedImage:
    """Return the image with its metadata, and with the orientation applied.

    Args:
        tags: EXIF or TIFF tags, with subdirectories as dicts.
        icc: color profile; dropped if it does not fit the channels.
        dpi: resolution along x and y, before the orientation is applied.
        xmp: XMP packet as text or bytes, before the orientation is applied.
    """
    orientation = tags.get(ORIENTATION)
    exif = {tag: tags[tag] for tag in KEPT_TAGS if tag in tags}
    description = str(exif.get(DESCRIPTION, "")).lstrip()
    for program, start in (("ImageJ", "ImageJ="), ("OME", "<?xml"), ("", '{"shape":')):
        if description.startswith(start) and (program != "OME" or "<OME" in description):
            # The description states the input's size, so these programs would misread the output.
            del exif[DESCRIPTION]
            if program:
                warnings.warn(f"the {program} metadata is not kept", stacklevel=2)
    if EXIF_IFD in exif:
        # The interoperability pointer would be invalid in an output. Pillow cannot write maker notes that it parsed.
        exif[EXIF_IFD] = {
            tag: value for tag, value in exif[EXIF_IFD].items() if tag != INTEROP_IFD and not isinstance(value, dict)
        }
    geo = geo_tags(tags)
    if orientation in ORIENTATIONS and geo != unplaced_tags(geo):
        warnings.warn("a rotated image does not keep its position on the map (GeoTIFF tags)", stacklevel=2)
        geo = unplaced_tags(geo)
    space = b"RGB " if image.has_rgb else b"GRAY"
    profile = icc if isinstance(icc, bytes) and icc[16:20] == space else None
    if icc and not profile:
        warnings.warn("the color profile is not kept, because it does not fit the bands", stacklevel=2)
    return image._replace(
        pixels=_apply_orientation(image.pixels, orientation), exif=exif,
        icc=profile,
        dpi=_dpi(dpi, orientation), xmp=_upright_xmp(xmp), tags=geo, nodata=nodata_of(geo, image.dtype),
    )  # fmt: skip


def _dpi(dpi: Any, orientation: object) -> tuple[float, float] | None:
    """Return the resolution along x and y of the upright image, or None if the file states no plausible one."""
    try:
        x, y = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (1 <= x <= 60_000 and 1 <= y <= 60_000):
        return None
    return (y, x) if ORIENTATIONS.get(orientation, (False,))[0] else (x, y)  # type: ignore[call-overload]


def _upright_xmp(xmp: object) -> bytes | None:
    """Return an XMP packet with the orientation reset, because the pixels are stored upright."""
    if isinstance(xmp, tuple):  # a TIFF tag of the type UNDEFINED
        xmp = xmp[0]
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8")
    if not isinstance(xmp, bytes) or not xmp.strip(b"\0"):
        return None
    return re.sub(rb'(tiff:Orientation(?:\s*=\s*["\']|>))[2-8]', rb"\g<1>1", xmp.rstrip(b"\0"))


def _pixels(image: Image.Image) -> np.ndarray:
    """Return the pixels (H, W, C) that Pillow decoded."""
    if image.mode.startswith("I;16") or (image.format, image.mode) == ("PPM", "I"):
        values, clear = np.asarray(image).astype(np.uint16)[..., None], image.info.get("transparency")
        return values if clear is None else np.concatenate([values, (values != clear) * np.uint16(65535)], -1)
    if image.mode == "F":
        return np.asarray(image)[..., None]
    if image.mode in ("I", "LAB", "HSV"):
        raise LIIFError(f"has {image.mode} pixels, which are not supported; save it as 8-bit or 16-bit gray or RGB")
    if image.mode == "CMYK":
        return np.asarray(_to_srgb(image, image.info.get("icc_profile")))
    gray = image.mode in ("1", "L", "LA", "La")
    pixels = np.asarray(image.convert(("L" if gray else "RGB") + "A" * image.has_transparency_data))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an image from its color profile to sRGB. If the profile is missing or damaged, convert without it."""
    if profile:
        try:
            source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
            return cast(Image.Image, ImageCms.profileToProfile(image, source, target, outputMode="RGB"))
        except (ImageCms.PyCMSError, OSError) as error:
            warnings.warn(f"the color profile is damaged and not used: {error}", stacklevel=2)
    return image.convert("RGB")


def _deep_colors(image: Image.Image, file: IO[bytes]) -> np.ndarray | None:
    """Return the pixels of a PNG with several 16-bit channels as uint16 (H, W, C), or None for other images."""
    if image.format != "PNG":
        return None
    file.seek(0)
    if file.read(25)[24] != 16 or image.mode.startswith("I"):
        return None
    file.seek(0)
    return decode_deep(file.read(), (image.height, image.width))


def _apply_orientation(pixels: np.ndarray, orientation: object) -> np.ndarray:
    transpose, rows, cols = ORIENTATIONS.get(orientation, (False, False, False))  # type: ignore[call-overload]
    pixels = pixels.swapaxes(0, 1) if transpose else pixels
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if cols else 1])
