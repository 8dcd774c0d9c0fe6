"""Pixel values: their range, and the filling of missing and invisible pixels."""
from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.wrapping import aligned_margins, repeat

Range = tuple[float, float]
Size = tuple[int, int]
# Values may exceed a range by this fraction of its width, because of rounding.
SLACK = 1e-6


class PixelError(LIIFError):
    """An error in the pixels or bands of an input image.

    The message starts with a verb, so that the caller can put the image's name before it.
    """


class Planes(NamedTuple):
    """Colors and opacity of an image, with missing and invisible pixels filled.

    colors: (h, w, C) in the image's unit. Missing and fully transparent pixels contain the nearest valid value.
    alpha: opacity (h, w, 1), or None.
    missing: whether each value is missing, (h, w, C) bool; None if no value is missing.
    """

    colors: np.ndarray
    alpha: np.ndarray | None
    missing: np.ndarray | None


def full_scale(dtype: np.dtype) -> int:
    """Return the value that means white and full opacity: the largest integer of the type, or 1 for floats."""
    return np.iinfo(dtype).max if dtype.kind in "ui" else 1


def type_limits(dtype: np.dtype) -> Range:
    """Return the least and the largest finite value of a pixel type."""
    if dtype.kind in "ui":
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return float(np.finfo(dtype).min), float(np.finfo(dtype).max)


def as_pixel(value: float, dtype: np.dtype) -> float | None:
    """Return a value, rounded if the pixels are floats. None for NaN, and if no pixel can have the value."""
    low, high = type_limits(dtype)
    if dtype.kind in "ui":
        return value if low <= value <= high and value.is_integer() else None
    with np.errstate(over="ignore"):
        rounded = float(dtype.type(value))
    return rounded if low <= rounded <= high or np.isinf(value) else None


def known_range(image: LoadedImage) -> Range | None:
    """Return the range that the image declares, else the limits of an unsigned type, else None."""
    if image.value_range is None and image.dtype.kind == "u":
        return 0, full_scale(image.dtype)
    return image.value_range


def is_within(values: np.ndarray, value_range: Range) -> bool:
    """Return whether all values are finite and within a range.

    The ends of the range may have been rounded to the values' own type, or to float32, the type of a network's output.
    For example, 250.3 becomes larger in float32. Such values are within the range.
    """
    ends, least, most = np.array(value_range, np.float64), float(values.min()), float(values.max())
    types = (np.float32, values.dtype) if values.dtype.kind == "f" else ()
    with np.errstate(over="ignore"):  # in float16, 1e5 becomes infinite
        rounded = np.stack([ends, *(ends.astype(dtype) for dtype in types)])
    slack = SLACK * (ends[1] - ends[0])
    within = rounded.min() - slack <= least and most <= rounded.max() + slack
    return bool(within and np.isfinite([least, most]).all())


def check_values(planes: Planes, value_range: Range) -> None:
    """Raise PixelError if values that are not missing lie outside the range."""
    valid = planes.colors if planes.missing is None else planes.colors[~planes.missing]
    if valid.size == 0 or (valid.dtype.kind == "u" and value_range == (0, full_scale(valid.dtype))):
        return
    if not is_within(valid, value_range):
        low, high = value_range
        raise PixelError(f"expected values in [{low:g}, {high:g}], got values from {valid.min():g} to {valid.max():g}; "
                         "pass the range with --value-range LOW HIGH, or in Python value_range=(low, high), or clip "
                         "the values")  # fmt: skip


def to_unit(values: np.ndarray, value_range: Range) -> np.ndarray:
    """Map values from a range to [0, 1], as float32."""
    low, high = value_range
    if values.dtype == np.float64:
        return ((values - low) / (high - low)).astype(np.float32)
    shifted = np.subtract(values, low, dtype=np.float32) if low else values
    return np.divide(shifted, high - low, dtype=np.float32)


def split_planes(image: LoadedImage, alpha: bool, tile_wrap: str = "") -> Planes:
    """Separate colors and opacity, and fill missing and invisible pixels.

    Args:
        alpha: whether the last band is opacity.
        tile_wrap: axes along which the image repeats.
    """
    colors = image.pixels[..., : image.shape[2] - alpha]
    missing = _missing(colors, image.nodata)
    if missing is not None:
        colors = colors.copy()
        for k in range(colors.shape[2]):
            valid = _fill(colors[..., k : k + 1], missing[..., k], tile_wrap)
            colors[..., k : k + 1] = 0 if missing[..., k].all() else valid
    if not alpha:
        return Planes(colors, None, missing)
    opacity = image.pixels[..., -1:]
    most = full_scale(opacity.dtype)
    if opacity.dtype.kind != "u" and not is_within(opacity, (0, most)):
        raise PixelError(f"expected opacity in [0, {most}] in the last band, got {opacity.min():g} to "
                         f"{opacity.max():g}; scale or clip it, or choose other bands with --bands")  # fmt: skip
    if not image.premultiplied:
        # Otherwise the color of invisible pixels, which is often black, would show as a fringe.
        colors = _fill(colors, opacity[..., 0] == 0, tile_wrap)
    return Planes(colors, opacity, missing)


def _missing(colors: np.ndarray, nodata: float | None) -> np.ndarray | None:
    """Return a bool array (h, w, C) that marks missing values, or None if there are none.

    A value is missing if it is NaN, or if all bands of its pixel equal `nodata`.
    """
    missing = np.isnan(colors) if colors.dtype.kind == "f" else np.zeros(colors.shape, bool)
    if nodata is not None:
        missing |= (colors == nodata).all(-1, keepdims=True)
    return missing if missing.any() else None


def _fill(values: np.ndarray, hidden: np.ndarray, tile_wrap: str) -> np.ndarray:
    """Return `values` (h, w, C) with each hidden pixel replaced by the nearest visible one, if any is visible."""
    if hidden.all() or not hidden.any():
        return values
    h, w = hidden.shape
    hidden = hidden.astype(np.uint8)
    # In a repeating image, the nearest copy of a pixel is at most half an image away along each axis.
    margins = top, left = aligned_margins(tile_wrap, (h, w), (h, w), max(h, w) // 2 + 1)
    index = repeat(np.arange(h * w).reshape(h, w), margins)
    hidden = repeat(hidden, margins)
    _, label = cv2.distanceTransformWithLabels(hidden, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    visible = np.zeros(label.max() + 1, np.int64)  # label -> index of its pixel
    visible[label[hidden == 0]] = index[hidden == 0]
    return values.reshape(-1, values.shape[2])[visible[label[top : top + h, left : left + w]]]


def mark_missing(output: np.ndarray, missing: np.ndarray, image: LoadedImage) -> None:
    """Set the missing pixels of an output (..., D), in place, to the image's `nodata`, or to NaN if it has none.

    Args:
        missing: whether each value is missing, (..., C) bool. If D is not C, all bands of an output pixel are missing
            if one of the C bands is.
    """
    if missing.shape[-1] != output.shape[-1]:
        missing = np.broadcast_to(missing.any(-1, keepdims=True), output.shape)
    output[missing] = np.nan if image.nodata is None else image.nodata


def select_bands(image: LoadedImage, bands: tuple[int, ...]) -> LoadedImage:
    """Return an image with only these bands (indices from 0), in this order. Three bands are assumed to be RGB.

    Raises:
        LIIFError: a band does not exist.
    """
    if max(bands) >= image.shape[2]:
        raise PixelError(f"has {describe_bands(image)}, but --bands asks for band {max(bands) + 1}; use lower numbers")
    pixels = np.ascontiguousarray(image.pixels[..., list(bands)])
    icc = image.icc if bands == (0, 1, 2) and image.has_rgb else None
    names = tuple(image.names[band] for band in bands) if image.names else ()
    return image._replace(pixels=pixels, icc=icc, names=names, rgb=len(bands) == 3, alpha=False, premultiplied=False)


def describe_bands(image: LoadedImage) -> str:
    """Return the number of bands and, if known, their names as text, such as `2 bands (B04, B08)`."""
    count = image.shape[2]
    names = f" ({', '.join(image.names[:12])}{', ...' * (count > 12)})" if image.names else ""
    return f"{count} band{'s' * (count > 1)}{names}"
