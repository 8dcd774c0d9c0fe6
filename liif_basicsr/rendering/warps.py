"""Warps, and the positions, extents and number of samples for each pixel of a warped image.

Positions follow OpenCV: pixel centers are at integers, and an image of n pixels spans -0.5 to n - 0.5.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.coordinates import Window, check_size
from liif_basicsr.rendering.homographies import check_matrix, scaling

# An output pixel that extends over at most this many input pixels along an axis has one sample along the axis. A larger
# pixel has at least two: between the centers of input pixels networks sharpen, so a single sample would be too sharp.
MAX_SINGLE_EXTENT = 0.6
# A pixel may exceed an integer number of input pixels by this much before it gets another sample.
EXTENT_TOLERANCE = 0.1
# Maximum number of samples per pixel along each axis: enough to reduce an image by a factor of 64.
MAX_SAMPLES = 64
# Radius of the bicubic reconstruction kernel in output pixels.
KERNEL_RADIUS = 2
# A map has a seam (a jump) between two pixels if the step between their positions is longer than this factor times a
# neighboring step, plus one pixel.
SEAM_RATIO = 4


class PixelPositions(NamedTuple):
    """Positions of output pixels in the input.

    pixel: (N,) int64, row-major index in the window.
    position: (N, 2) float64, (y, x) of the center.
    jacobian: (N, 2, 2) float64, derivatives of the position (y, x) with respect to the output row and
        column (last axis).
    """

    pixel: np.ndarray
    position: np.ndarray
    jacobian: np.ndarray

    def select(self, mask: np.ndarray) -> PixelPositions:
        """Return the pixels that a mask or an index array selects."""
        return PixelPositions(self.pixel[mask], self.position[mask], self.jacobian[mask])

    def bounds(self, margin: float = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and the largest (y, x) that each pixel covers in the input, (N, 2) each.

        Args:
            margin: first enlarge each pixel by this many output pixels on every side.
        """
        half = np.abs(self.jacobian).sum(-1) * (0.5 + margin)
        return self.position - half, self.position + half

    def overlapping(self, low: np.ndarray, high: np.ndarray, margin: float = 0) -> PixelPositions:
        """Return the pixels whose `bounds` overlap the input rectangle from `low` to `high`, (y, x) each."""
        own_low, own_high = self.bounds(margin)
        return self.select(np.all((own_high > low) & (own_low < high), axis=-1))

    def near_image(self, in_size: tuple[int, int]) -> PixelPositions:
        """Return the pixels that may affect the visible part of the output, given an input of `in_size` (h, w).

        The kernel also mixes samples of neighboring pixels into a pixel. A pixel outside the input is therefore kept
        if its distance to the input is below twice the kernel's radius, times the pixel's own size in the input.
        The radius alone would not be enough, because the neighbor inside the input may be larger than the pixel. Pixels
        farther away are dropped, such as those that a map places at -1e6.
        """
        return self.overlapping(np.full(2, -0.5), np.array(in_size) - 0.5, 2 * KERNEL_RADIUS)


class Homography:
    """A projective or affine warp.

    Args:
        matrix: (3, 3) or (2, 3), maps input pixels (x, y) to output pixels, as in cv2.warpPerspective.
        size: (H, W) of the output.

    Raises:
        LIIFError: the matrix or the size is invalid, or the horizon crosses the output.
    """

    def __init__(self, matrix: object, size: tuple[int, int]) -> None:
        self.size = check_size(size)
        self.inverse = np.linalg.inv(check_matrix(matrix))
        bottom, right = self.size[0] - 0.5, self.size[1] - 0.5
        corners = [(x, y, 1) for x in (-0.5, right) for y in (-0.5, bottom)]
        depth = np.array([self.inverse[2] @ corner for corner in corners])
        if depth.min() <= 1e-9 * np.abs(depth).max() and depth.max() >= -1e-9 * np.abs(depth).max():
            raise LIIFError("matrix: the horizon (w = 0) crosses the output; choose an output size that ends before it")

    def pixel_positions(self, window: Window) -> PixelPositions:
        """Return the positions in the input of the output pixels in a window."""
        top, left, height, width = window
        row, col = np.mgrid[top : top + height, left : left + width].reshape(2, -1).astype(np.float64)
        x, y, w = (a * col + b * row + c for a, b, c in self.inverse)
        x, y = x / w, y / w
        (ax, bx, _), (ay, by, _), (aw, bw, _) = self.inverse
        by_row = np.stack([by - y * bw, bx - x * bw], -1) / w[:, None]
        by_col = np.stack([ay - y * aw, ax - x * aw], -1) / w[:, None]
        return PixelPositions(np.arange(len(row)), np.stack([y, x], -1), np.stack([by_row, by_col], -1))

    def is_upscaling(self, in_size: tuple[int, int]) -> bool:
        """Return whether the warp only upscales an input of `in_size` (h, w) to the output's size.

        `EncodedImage.render` then computes the result.
        """
        factors = in_size[0] / self.size[0], in_size[1] / self.size[1]
        difference = self.inverse / self.inverse[2, 2] - scaling(factors)
        # Allow positions to differ by a millionth of a pixel at the far end of the output.
        return max(factors) <= 1 and float(np.abs(difference).sum()) * max(self.size) < 1e-6


class PixelMap:
    """A warp that is defined by the input position of every output pixel.

    Args:
        map_x, map_y: (H, W) each, position of each output pixel in the input, like the maps of cv2.remap.

    Raises:
        LIIFError: the maps are not numeric arrays of the same shape (H, W), or they contain NaN or infinity.
    """

    def __init__(self, map_x: np.ndarray, map_y: np.ndarray) -> None:
        for name, values in (("map_x", map_x), ("map_y", map_y)):
            if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "fiu":
                raise LIIFError(f"{name}: expected a NumPy array (H, W) of real numbers")
            if not np.isfinite(values).all():
                remedy = "for output pixels that show no part of the image, use a position outside it, such as -1e6"
                raise LIIFError(f"{name}: contains NaN or infinity; {remedy}")
        if map_x.shape != map_y.shape or 0 in map_x.shape:
            expected = "expected non-empty arrays of the same shape (H, W)"
            raise LIIFError(f"map_x and map_y: {expected}, got shapes {map_x.shape} and {map_y.shape}")
        self.size = (map_x.shape[0], map_x.shape[1])
        self.map_y, self.map_x = map_y, map_x

    def pixel_positions(self, window: Window) -> PixelPositions:
        """Return the positions in the input of the output pixels in a window."""
        top, left, height, width = window
        # Add two pixels on every side, because a derivative at the map's border depends on two steps.
        rows, cols = slice(max(0, top - 2), top + height + 2), slice(max(0, left - 2), left + width + 2)
        padded = np.stack([self.map_y[rows, cols], self.map_x[rows, cols]], -1).astype(np.float64)
        own = slice(top - rows.start, top - rows.start + height), slice(left - cols.start, left - cols.start + width)
        jacobian = np.stack([_derivative(padded, axis)[own] for axis in (0, 1)], -1)
        return PixelPositions(np.arange(height * width), padded[own].reshape(-1, 2), jacobian.reshape(-1, 2, 2))

    def is_upscaling(self, in_size: tuple[int, int]) -> bool:
        """Return False, because maps are always sampled pixel by pixel."""
        return False


# A map from output pixels to positions in the input.
Warp = Homography | PixelMap


def _derivative(positions: np.ndarray, axis: int) -> np.ndarray:
    """Return the derivative of a map's positions (H, W, 2) along an axis.

    It is the mean of the steps to both neighbors. Next to a seam, it is the step that does not cross the seam. At the
    map's border, it is the only step or, if that step crosses a seam, the next step inward.
    """
    if positions.shape[axis] == 1:
        return np.broadcast_to(np.eye(2)[axis], positions.shape)
    steps = np.diff(positions, axis=axis)
    first, second = (steps.take([k], axis, mode="clip") for k in (0, 1))
    last, second_last = (steps.take([steps.shape[axis] - k], axis, mode="clip") for k in (1, 2))
    before = np.concatenate([np.where(_is_seam(first, second), second, first), steps], axis)
    after = np.concatenate([steps, np.where(_is_seam(last, second_last), second_last, last)], axis)
    mean = (before + after) / 2
    return np.where(_is_seam(before, after), after, np.where(_is_seam(after, before), before, mean))


def _is_seam(step: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return whether each step (..., 2) crosses a seam, (..., 1) bool, by comparing it to a neighboring step."""
    length, expected = (np.linalg.norm(values, axis=-1, keepdims=True) for values in (step, other))
    return length > SEAM_RATIO * expected + 1


class Samples(NamedTuple):
    """Subpixel samples of output pixels.

    pixel: (M,) int64, index of the sampled pixel, see `PixelPositions`.
    offset: (M, 2) float64, offset from the pixel's center along the output's rows and columns, from -0.5 to 0.5.
    position: (M, 2) float64, (y, x) in the input; may be outside it.
    extent: (M, 2) float64, height and width of the sample in input pixels.
    share: (M,) float64, the fraction of its pixel that the sample covers.
    inside: (M,) float64, the fraction of the sample that is inside the input.
    """

    pixel: np.ndarray
    offset: np.ndarray
    position: np.ndarray
    extent: np.ndarray
    share: np.ndarray
    inside: np.ndarray

    def select(self, mask: np.ndarray) -> Samples:
        """Return the samples that a mask or an index array selects."""
        return Samples(*(values[mask] for values in self))


def sample_counts(pixels: PixelPositions) -> np.ndarray:
    """Return the number of samples in each pixel along the output's rows and columns, (N, 2).

    The numbers are chosen so that a sample spans at most about one input pixel, but they do not exceed MAX_SAMPLES. A
    pixel that coincides with an input pixel has one sample, even if the image is rotated by a right angle or mirrored.
    """
    extent = np.linalg.norm(pixels.jacobian, axis=1)
    count = np.maximum(2, np.ceil(extent - EXTENT_TOLERANCE).clip(1, MAX_SAMPLES))
    at_center = np.abs(pixels.position - pixels.position.round()).max(-1) < 1e-6
    steps = np.sort(np.abs(pixels.jacobian), axis=1)
    axis_aligned = np.abs(steps - [[0], [1]]).max((1, 2)) < 1e-6
    return np.where((at_center & axis_aligned)[:, None] | (extent <= MAX_SINGLE_EXTENT), 1, count).astype(np.int64)


def sample_pixels(pixels: PixelPositions, in_size: tuple[int, int]) -> Iterator[Samples]:
    """Yield the samples of the pixels near an input of `in_size` (h, w), in chunks of about WARP_QUERIES samples."""
    pixels = pixels.near_image(in_size)
    counts = sample_counts(pixels)
    total = counts.prod(-1)
    chunk = (np.cumsum(total) - 1) // memory.WARP_QUERIES
    for part in np.split(np.arange(len(total)), np.flatnonzero(np.diff(chunk)) + 1):
        if len(part):
            yield _place_samples(pixels.select(part), counts[part], in_size)


def _place_samples(pixels: PixelPositions, counts: np.ndarray, in_size: tuple[int, int]) -> Samples:
    """Return a regular grid of samples in each pixel, with `counts` (N, 2) samples along the rows and columns."""
    total = counts.prod(-1)
    pixel = np.repeat(np.arange(len(total)), total)
    number = np.arange(len(pixel)) - np.repeat(np.cumsum(total) - total, total)  # number of the sample within its pixel
    grid, jacobian = counts[pixel].astype(np.float64), pixels.jacobian[pixel]
    row, col = np.divmod(number, counts[pixel, 1])
    offset = (np.stack([row, col], -1) + 0.5) / grid - 0.5
    position = pixels.position[pixel] + (jacobian * offset[:, None]).sum(-1)
    # A sample covers a parallelogram. Its extent is the size of the rectangle with the same second moments.
    extent = np.linalg.norm(jacobian / grid[:, None], axis=-1).clip(1e-6)
    low, high = (position - extent / 2).clip(-0.5), (position + extent / 2).clip(None, np.array(in_size) - 0.5)
    inside = ((high - low) / extent).clip(0, 1).prod(-1)
    return Samples(pixels.pixel[pixel], offset, position, extent, 1 / total[pixel], inside)
