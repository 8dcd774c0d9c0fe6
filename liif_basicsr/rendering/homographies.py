"""Homographies that map input pixels to output pixels.

Positions follow OpenCV: (x, y) in pixels with pixel centers at integers. The top left pixel spans -0.5 to 0.5 along
both axes.
"""
from __future__ import annotations

import math

import cv2
import numpy as np

from liif_basicsr.errors import LIIFError

# Matrices with a larger condition number count as singular.
MAX_CONDITION = 1e10


def check_matrix(matrix: object) -> np.ndarray:
    """Return a homography (3, 3) or affine matrix (2, 3) as float64 (3, 3).

    Raises:
        LIIFError: the matrix is not 3x3 or 2x3, contains NaN or infinity, or is singular.
    """
    try:
        found = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise LIIFError("matrix: expected 3x3 or 2x3 numbers") from None
    if found.shape not in ((3, 3), (2, 3)):
        raise LIIFError(f"matrix: expected 3x3 or 2x3 numbers, got shape {found.shape}")
    if not np.isfinite(found).all():
        raise LIIFError("matrix: contains NaN or infinity; all numbers must be finite")
    if len(found) == 2:
        found = np.vstack([found, [0.0, 0.0, 1.0]])
    # Normalize rows and columns first. Otherwise a translation of many pixels would be enough for a large condition
    # number.
    balanced = found
    for _ in range(4):
        for axis in (1, 0):
            length = np.linalg.norm(balanced, axis=axis, keepdims=True)
            balanced = balanced / np.where(length > 0, length, 1)
    if np.linalg.cond(balanced) > MAX_CONDITION:
        raise LIIFError("matrix: is singular (it maps the image to a line or a point); use an invertible matrix")
    return found


def scaled_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """Return the size (H, W) of an image scaled by the factors (y, x), at least one pixel along each axis."""
    return max(1, round(size[0] * scale[0])), max(1, round(size[1] * scale[1]))


def scaling(scale: tuple[float, float]) -> np.ndarray:
    """Return the matrix that scales an image by the factors (y, x) about its top left corner, (-0.5, -0.5)."""
    sy, sx = scale
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def rotation(
    in_size: tuple[int, int], degrees: float, expand: bool = True, scale: tuple[float, float] = (1.0, 1.0)
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the homography that rotates an image about its center.

    Args:
        in_size: (h, w).
        degrees: rotation angle, counterclockwise as seen on the screen (y points down).
        expand: make the output large enough for the whole rotated image. Otherwise its size is the input's, times
            `scale`.
        scale: factors (y, x) that multiply the rotated image and the output's size.

    Returns:
        The matrix (3, 3) and the output's size (H, W).

    Raises:
        LIIFError: `degrees` is not finite.
    """
    if not math.isfinite(degrees):
        raise LIIFError(f"degrees: expected a finite number, got {degrees}")
    quarter, rest = divmod(degrees, 90)
    cos, sin = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter) % 4]
    if rest:
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    h, w = in_size
    size = (h, w)
    if expand:  # the tolerance keeps rounding errors from adding a pixel
        size = (
            math.ceil(abs(w * sin) + abs(h * cos) - 1e-6),
            math.ceil(abs(w * cos) + abs(h * sin) - 1e-6),
        )
    (y, x), (center_y, center_x) = ((n - 1) / 2 for n in in_size), ((n - 1) / 2 for n in size)
    turn = np.array([[cos, sin, center_x - cos * x - sin * y], [-sin, cos, center_y + sin * x - cos * y], [0, 0, 1]])
    return scaling(scale) @ turn, scaled_size(size, scale)


def check_quad(quad: object) -> np.ndarray:
    """Return four corners as an array (4, 2) of (x, y), clockwise from the top left one.

    Raises:
        LIIFError: there are not four finite points, three of them are on a line, the sides cross, or the order is
            counterclockwise, which would mirror the image; or `natural_size` is one pixel along an axis.
    """
    try:
        corners = np.array(quad, dtype=np.float64)
    except (TypeError, ValueError):
        raise LIIFError("quad: expected four corners x,y") from None
    if corners.shape != (4, 2) or not np.isfinite(corners).all():
        raise LIIFError("quad: expected four corners x,y with finite coordinates")
    sides = np.roll(corners, -1, axis=0) - corners
    following = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0]
    remedy = "list the corners clockwise from the top left one"
    if (np.abs(turns) <= 1e-6 * (np.linalg.norm(sides, axis=1).max() ** 2)).any():
        raise LIIFError(f"quad: three corners are on a line, or two are the same; {remedy}")
    if (turns < 0).all():
        raise LIIFError(f"quad: the corners are in counterclockwise order, which would mirror the image; {remedy}")
    if (turns < 0).any():
        raise LIIFError(f"quad: the sides cross, or one corner is inside the triangle of the other three; {remedy}")
    if min(natural_size(corners)) < 2:
        raise LIIFError("quad: is less than one pixel wide or high; choose corners that are farther apart")
    return corners


def natural_size(corners: np.ndarray) -> tuple[int, int]:
    """Return the size (H, W) of the rectangle that four corners are rectified to.

    Of each pair of opposite sides of the quadrilateral, the longer one sets the height or width.
    """
    top, right, bottom, left = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    return round(max(left, right)) + 1, round(max(top, bottom)) + 1


def rectification(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the matrix (3, 3) that maps four corners to the corners of an output of `size` (H, W).

    At `natural_size` the corners map to the centers of the output's corner pixels. For any other `size`, that output is
    scaled as `render` scales an image: from outer edge to outer edge, not between the centers of the border pixels.
    """
    height, width = natural_size(corners)
    square = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=np.float64)
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), square.astype(np.float32))
    return scaling((size[0] / height, size[1] / width)) @ matrix
