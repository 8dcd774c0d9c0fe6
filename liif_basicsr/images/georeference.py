"""Adapt GeoTIFF tags, which place an image on a map, to the size of an output."""
from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from liif_basicsr.images.values import as_pixel

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION = 33550, 33922, 34264
KEYS, DOUBLE_KEYS, TEXT_KEYS = 34735, 34736, 34737
GDAL_METADATA, GDAL_NODATA = 42112, 42113
GEO_TAGS = (PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, KEYS, DOUBLE_KEYS, TEXT_KEYS, GDAL_METADATA, GDAL_NODATA)
# Tags that consist of numbers, and how many numbers belong together.
NUMBERS = {PIXEL_SCALE: 3, TIE_POINTS: 6, TRANSFORMATION: 16, KEYS: 4, DOUBLE_KEYS: 1}
RASTER_TYPE, PIXEL_IS_POINT = 1025, 2

Size = tuple[int, int]


def nodata_of(tags: Mapping[Any, Any], dtype: np.dtype) -> float | None:
    """Return the value in GDAL's tag for missing pixels, or None if the tag is absent or no pixel can have its value.

    Some programs write a value that the pixel type does not have, such as -9999 for uint8.
    """
    try:
        return as_pixel(float(str(tags.get(GDAL_NODATA)).strip("\0 ")), dtype)
    except ValueError:
        return None


def geo_tags(tags: Mapping[Any, Any]) -> dict[int, Any]:
    """Return the GeoTIFF tags of a TIFF, as texts and tuples of numbers.

    Warns:
        UserWarning: some of them are damaged. Then those that place the image on a map are not used.
    """
    found = {tag: tags[tag] for tag in GEO_TAGS if tag in tags}
    # Pillow returns a single number without a tuple.
    found = {tag: value if isinstance(value, (str, bytes, tuple)) else (value,) for tag, value in found.items()}
    damaged = [tag for tag, value in found.items() if not _is_intact(tag, value)]
    if damaged:
        names = " and ".join(map(str, damaged))
        warnings.warn(f"the GeoTIFF tags are not kept, because {names} is damaged", stacklevel=2)
        found = {tag: value for tag, value in unplaced_tags(found).items() if tag not in damaged}
    return found


def _is_intact(tag: int, value: Any) -> bool:
    """Return whether the type of a tag and the number of its values are valid."""
    if tag not in NUMBERS:
        return isinstance(value, str)
    try:
        struct.pack(f"{len(value)}{'H' if tag == KEYS else 'd'}", *value)
    except (struct.error, TypeError, ValueError, ArithmeticError):
        return False
    return len(value) % NUMBERS[tag] == 0


def unplaced_tags(tags: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the tags without those that place the image on a map."""
    return {tag: tags[tag] for tag in tags if tag not in GEO_TAGS or tag in (GDAL_METADATA, GDAL_NODATA)}


def scaled_tags(tags: Mapping[Any, Any], in_size: Size, size: Size) -> dict[int, Any]:
    """Return the tags of a GeoTIFF of `in_size` (h, w), adapted to an output of `size` (H, W) of the same area.

    Source: OGC GeoTIFF standard 1.1, section 7.1, and annex B.6 for the raster types.
    """
    found = {tag: tags[tag] for tag in GEO_TAGS if tag in tags}
    fy, fx = size[0] / in_size[0], size[1] / in_size[1]
    # The raster type says whether (0, 0) is the corner of the first pixel or its center.
    keys = found.get(KEYS, ())
    entries = [tuple(keys[k : k + 4]) for k in range(4, len(keys), 4)]
    offset = 0.5 if (RASTER_TYPE, 0, 1, PIXEL_IS_POINT) in entries else 0.0
    if PIXEL_SCALE in found:
        x, y, *rest = found[PIXEL_SCALE]
        found[PIXEL_SCALE] = (x / fx, y / fy, *rest)
    if TIE_POINTS in found:
        points = list(found[TIE_POINTS])
        points[0::6] = [(i + offset) * fx - offset for i in points[0::6]]
        points[1::6] = [(j + offset) * fy - offset for j in points[1::6]]
        found[TIE_POINTS] = tuple(points)
    if TRANSFORMATION in found:
        matrix = list(found[TRANSFORMATION])  # 4x4, by rows
        for row in range(0, 12, 4):
            by_x, by_y = matrix[row] / fx, matrix[row + 1] / fy
            matrix[row + 3] += offset * (by_x - matrix[row] + by_y - matrix[row + 1])
            matrix[row : row + 2] = by_x, by_y
        found[TRANSFORMATION] = tuple(matrix)
    return found
