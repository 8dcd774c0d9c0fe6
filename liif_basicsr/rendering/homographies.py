"""3x3 matrices that map input pixels to output pixels: checked, made from corners or from an angle, scaled.

Positions are those of OpenCV, (x, y) in pixels with the centres at whole numbers: the pixel at the top left spans
-0.5 to 0.5 along both axes.
"""
from __future__ import annotations

import math

import cv2
import numpy as np

from liif_basicsr.errors import LIIFError

# A matrix, or four corners, is singular where some direction is shrunk so many times as much as another.
SINGULAR = 1e10


def check_matrix(matrix: object) -> np.ndarray:
    """A homography (3, 3) or affine matrix (2, 3) as float64 (3, 3).

    Raises:
        LIIFError: another shape, something that is no finite number, or a matrix that cannot be inverted.
    """
    try:
        found = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise LIIFError("matrix: must be 3x3 or 2x3 numbers") from None
    if found.shape not in ((3, 3), (2, 3)):
        raise LIIFError(f"matrix: must be 3x3 or 2x3 numbers, not of shape {found.shape}")
    if not np.isfinite(found).all():
        raise LIIFError("matrix: holds what is no finite number")
    if len(found) == 2:
        found = np.vstack([found, [0.0, 0.0, 1.0]])
    # Rows and columns brought to one length each, so that pixels' large numbers are not taken for singularity.
    balanced = found
    for _ in range(4):
        for axis in (1, 0):
            length = np.linalg.norm(balanced, axis=axis, keepdims=True)
            balanced = balanced / np.where(length > 0, length, 1)
    if np.linalg.cond(balanced) > SINGULAR:
        raise LIIFError("matrix: is singular, it maps the image to a line or a point; give one that can be inverted")
    return found


def scaled_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """(H, W) of an image of `size` that is enlarged by a factor along y and one along x: at least a pixel."""
    return max(1, round(size[0] * scale[0])), max(1, round(size[1] * scale[1]))


def scaling(scale: tuple[float, float]) -> np.ndarray:
    """Enlarge by a factor along y and one along x, as `render` does: what an image spans is scaled, not its centres."""
    sy, sx = scale
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def rotation(
    in_size: tuple[int, int], degrees: float, expand: bool = True, scale: tuple[float, float] = (1.0, 1.0)
) -> tuple[np.ndarray, tuple[int, int]]:
    """Turn an image about its centre.

    Args:
        in_size: (h, w).
        degrees: counterclockwise, as people see it (y points down).
        expand: the output holds the whole image, else it has the size of the input; times `scale` in both cases.

    Returns:
        The matrix (3, 3), and the output's (H, W).
    """
    if not math.isfinite(degrees):
        raise LIIFError(f"degrees {degrees}: must be a finite number")
    quarter, rest = divmod(degrees, 90)
    cos, sin = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter) % 4]
    if rest:
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    h, w = in_size
    size = (h, w)
    if expand:  # what exceeds a whole number of pixels by rounding alone gets no pixel of its own
        size = (
            math.ceil(abs(w * sin) + abs(h * cos) - 1e-6),
            math.ceil(abs(w * cos) + abs(h * sin) - 1e-6),
        )
    (y, x), (center_y, center_x) = ((n - 1) / 2 for n in in_size), ((n - 1) / 2 for n in size)
    turn = np.array([[cos, sin, center_x - cos * x - sin * y], [-sin, cos, center_y + sin * x - cos * y], [0, 0, 1]])
    return scaling(scale) @ turn, scaled_size(size, scale)


def check_quad(quad: object) -> np.ndarray:
    """Four corners (4, 2), each (x, y), clockwise from the top left one.

    Raises:
        LIIFError: not four points, some that are no finite numbers, on a line, or in an order that crosses itself or
            mirrors the image.
    """
    try:
        corners = np.array(quad, dtype=np.float64)
    except (TypeError, ValueError):
        raise LIIFError("quad: must be four corners x,y") from None
    if corners.shape != (4, 2) or not np.isfinite(corners).all():
        raise LIIFError("quad: must be four corners x,y, all of them finite numbers")
    sides = np.roll(corners, -1, axis=0) - corners
    after = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0]
    order = "give them clockwise from the top left one"
    if (np.abs(turns) <= 1e-6 * (np.linalg.norm(sides, axis=1).max() ** 2)).any():
        raise LIIFError(f"quad: three of its corners lie on a line, or two are the same; {order}")
    if (turns < 0).all():
        raise LIIFError(f"quad: its corners go counterclockwise, which would mirror the image; {order}")
    if (turns < 0).any():
        raise LIIFError(f"quad: its sides cross, or a corner lies within the others; {order}")
    return corners


def natural_size(corners: np.ndarray) -> tuple[int, int]:
    """(H, W) of the rectangle that four corners become: as long along each axis as the longer of the two sides."""
    top, right, bottom, left = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    return round(max(left, right)) + 1, round(max(top, bottom)) + 1


def rectification(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The matrix (3, 3) that brings four corners to the corners of an output, of `size` (H, W).

    At the natural size the corners come to the centres of the corner pixels; a larger output is that one enlarged as
    `render` does it.
    """
    height, width = natural_size(corners)
    square = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=np.float64)
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), square.astype(np.float32))
    return scaling((size[0] / height, size[1] / width)) @ matrix
