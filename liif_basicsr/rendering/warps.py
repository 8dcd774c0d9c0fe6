"""Where the pixels of a warped image lie in its input, how large they are there, and how often each is queried.

Positions are those of OpenCV: pixels whose centres lie at whole numbers, so that an image of n pixels spans -0.5 to
n - 0.5.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.coordinates import Window, check_size
from liif_basicsr.rendering.homographies import check_matrix, scaling

# A pixel that covers more of an input pixel along an axis is queried at least twice there: between the centres of the
# input's pixels, networks sharpen what they show at its own resolution.
SINGLE = 0.6
# A pixel may cover so much more than a whole number of input pixels before it is queried once more.
SLACK = 0.1
# Queries of a pixel along one of its axes: enough for a reduction by 64.
MOST = 64
# Pixels that a query counts for, to each side of its own: the support of the bicubic kernel.
REACH = 2
# Two neighbours of a pixel, of which one lies so many times as far as the other, are parted by a seam of the map.
SEAM = 4


class Places(NamedTuple):
    """Where output pixels lie in an input.

    number: (N,) int64, of each pixel, counted row by row in its window.
    position: (N, 2) float64, (y, x) of the centre.
    jacobian: (N, 2, 2) float64, what the position (y, x) changes by from a row to the next, and from a column.
    """

    number: np.ndarray
    position: np.ndarray
    jacobian: np.ndarray

    def take(self, part: np.ndarray) -> Places:
        """Some of them, by an index or a mask."""
        return Places(self.number[part], self.position[part], self.jacobian[part])

    def box(self, reach: float = 0) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest (y, x) (N, 2) that each pixel covers, with `reach` pixels to each side of it."""
        half = np.abs(self.jacobian).sum(-1) * (0.5 + reach)
        return self.position - half, self.position + half

    def within(self, low: np.ndarray, high: np.ndarray, reach: float = 0) -> Places:
        """Those that may reach into a rectangle of the input, from (y, x) to (y, x)."""
        own_low, own_high = self.box(reach)
        return self.take(np.all((own_high > low) & (own_low < high), axis=-1))

    def near(self, in_size: tuple[int, int]) -> Places:
        """Those whose queries count for a pixel that lies, at least in part, in an input of `in_size` (h, w)."""
        return self.within(np.full(2, -0.5), np.array(in_size) - 0.5, REACH)


class Warp(Protocol):
    """A map of output pixels to an input."""

    size: tuple[int, int]

    def places(self, window: Window) -> Places:
        """Those of a window of the output."""

    def enlarges(self, in_size: tuple[int, int]) -> bool:
        """Whether it does nothing but to enlarge an input of `in_size` to the output's size, as `render` does."""


class Homography:
    """A plane seen from elsewhere.

    Args:
        matrix: (3, 3) or (2, 3), maps input pixels (x, y) to output pixels, as that of cv2.warpPerspective.
        size: (H, W) of the output.

    Raises:
        LIIFError: a matrix or a size that will not do, or a horizon that crosses the output.
    """

    def __init__(self, matrix: object, size: tuple[int, int]) -> None:
        self.size = check_size(size)
        self.inverse = np.linalg.inv(check_matrix(matrix))
        bottom, right = self.size[0] - 0.5, self.size[1] - 0.5
        corners = [(x, y, 1) for x in (-0.5, right) for y in (-0.5, bottom)]
        depth = np.array([self.inverse[2] @ corner for corner in corners])
        if depth.min() <= 1e-9 * np.abs(depth).max() and depth.max() >= -1e-9 * np.abs(depth).max():
            raise LIIFError("matrix: the horizon (w = 0) crosses the output; give a size that ends before it")

    def places(self, window: Window) -> Places:
        """See `Warp`."""
        top, left, height, width = window
        row, col = np.mgrid[top : top + height, left : left + width].reshape(2, -1).astype(np.float64)
        x, y, w = (a * col + b * row + c for a, b, c in self.inverse)
        x, y = x / w, y / w
        (ax, bx, _), (ay, by, _), (aw, bw, _) = self.inverse
        along_y = np.stack([by - y * bw, ay - y * aw], -1) / w[:, None]
        along_x = np.stack([bx - x * bw, ax - x * aw], -1) / w[:, None]
        return Places(np.arange(len(row)), np.stack([y, x], -1), np.stack([along_y, along_x], 1))

    def enlarges(self, in_size: tuple[int, int]) -> bool:
        """See `Warp`."""
        factors = in_size[0] / self.size[0], in_size[1] / self.size[1]
        difference = self.inverse / self.inverse[2, 2] - scaling(factors)
        # By no more than a millionth of a pixel at the far end of the output.
        return max(factors) <= 1 and float(np.abs(difference).sum()) * max(self.size) < 1e-6


class Table:
    """A map given pixel by pixel.

    Args:
        map_x, map_y: (H, W) each, where each output pixel lies in the input, as those of cv2.remap.

    Raises:
        LIIFError: no such arrays, other shapes, or something that is no finite number.
    """

    def __init__(self, map_x: np.ndarray, map_y: np.ndarray) -> None:
        for name, table in (("map_x", map_x), ("map_y", map_y)):
            if not isinstance(table, np.ndarray) or table.ndim != 2 or table.dtype.kind not in "fiu":
                raise LIIFError(f"{name}: must be an array (H, W) of numbers")
        if map_x.shape != map_y.shape or 0 in map_x.shape:
            raise LIIFError(f"map_x and map_y: must have one shape (H, W), not {map_x.shape} and {map_y.shape}")
        for name, table in (("map_x", map_x), ("map_y", map_y)):
            if not np.isfinite(table).all():
                raise LIIFError(f"{name}: holds NaN or infinity; what is to be filled lies outside the image, at -1e6")
        self.size = (map_x.shape[0], map_x.shape[1])
        self.map_y, self.map_x = map_y, map_x

    def places(self, window: Window) -> Places:
        """See `Warp`."""
        top, left, height, width = window
        rows, cols = slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)
        around = np.stack([self.map_y[rows, cols], self.map_x[rows, cols]], -1).astype(np.float64)
        own = slice(top - rows.start, top - rows.start + height), slice(left - cols.start, left - cols.start + width)
        jacobian = np.stack([_slope(around, axis)[own] for axis in (0, 1)], -1)
        return Places(np.arange(height * width), around[own].reshape(-1, 2), jacobian.reshape(-1, 2, 2))

    def enlarges(self, in_size: tuple[int, int]) -> bool:
        """See `Warp`; maps are not looked through."""
        return False


def _slope(table: np.ndarray, axis: int) -> np.ndarray:
    """What positions (H, W, 2) change by along an axis: the mean of both sides, at a border or a seam that of one."""
    if table.shape[axis] == 1:
        return np.broadcast_to(np.eye(2)[axis], table.shape)
    steps = np.diff(table, axis=axis)
    before = np.concatenate([steps.take([0], axis), steps], axis)
    after = np.concatenate([steps, steps.take([-1], axis)], axis)
    length_before, length_after = np.linalg.norm(before, axis=-1), np.linalg.norm(after, axis=-1)
    nearer = np.where((length_before <= length_after)[..., None], before, after)
    longer, shorter = np.maximum(length_before, length_after), np.minimum(length_before, length_after)
    return np.where((longer > SEAM * shorter + 1)[..., None], nearer, (before + after) / 2)


class Queries(NamedTuple):
    """Where a network is asked for the colour of output pixels.

    number: (M,) int64, which pixel, as in `Places`.
    offset: (M, 2) float64, where in the pixel, along its rows and columns, from -0.5 to 0.5.
    position: (M, 2) float64, (y, x) in the input, some of them beyond it.
    extent: (M, 2) float64, how far each reaches along y and x, in input pixels.
    share: (M,) float64, what it is of its pixel.
    inside: (M,) float64, what lies in the input of that, from 0 to 1.
    """

    number: np.ndarray
    offset: np.ndarray
    position: np.ndarray
    extent: np.ndarray
    share: np.ndarray
    inside: np.ndarray

    def take(self, part: np.ndarray) -> Queries:
        """Some of them, by an index or a mask."""
        return Queries(*(values[part] for values in self))


def counts(places: Places) -> np.ndarray:
    """How often pixels are queried along their rows and their columns, (N, 2), such that each sees half a pixel to one.

    Those that are pixels of the input, only turned or moved, are queried once.
    """
    covered = np.linalg.norm(places.jacobian, axis=1)
    often = np.maximum(2, np.ceil(covered - SLACK).clip(1, MOST))
    whole = np.abs(places.position - places.position.round()).max(-1) < 1e-6
    steps = np.sort(np.abs(places.jacobian), axis=1)
    straight = np.abs(steps - [[0], [1]]).max((1, 2)) < 1e-6
    return np.where((whole & straight)[:, None] | (covered <= SINGLE), 1, often).astype(np.int64)


def queries(places: Places, in_size: tuple[int, int]) -> Iterator[Queries]:
    """The queries of pixels, some pixels at a time; none for what lies far outside an input of `in_size` (h, w)."""
    places = places.near(in_size)
    number_of = counts(places)
    total = number_of.prod(-1)
    group = (np.cumsum(total) - 1) // memory.WARP_QUERIES
    for part in np.split(np.arange(len(total)), np.flatnonzero(np.diff(group)) + 1):
        if len(part):
            yield _spread(places.take(part), number_of[part], total[part], in_size)


def _spread(places: Places, number_of: np.ndarray, total: np.ndarray, in_size: tuple[int, int]) -> Queries:
    """Queries side by side in each pixel, (N, 2) of them along its axes, in `total` (N,)."""
    pixel = np.repeat(np.arange(len(total)), total)
    within = np.arange(len(pixel)) - np.repeat(np.cumsum(total) - total, total)
    of_each, jacobian = number_of[pixel].astype(np.float64), places.jacobian[pixel]
    row, col = np.divmod(within, number_of[pixel, 1])
    offset = (np.stack([row, col], -1) + 0.5) / of_each - 0.5
    position = places.position[pixel] + (jacobian * offset[:, None]).sum(-1)
    # The rectangle whose second moments are those of the parallelogram that the query stands for.
    extent = np.linalg.norm(jacobian / of_each[:, None], axis=-1).clip(1e-6)
    low, high = (position - extent / 2).clip(-0.5), (position + extent / 2).clip(None, np.array(in_size) - 0.5)
    inside = ((high - low) / extent).clip(0, 1).prod(-1)
    return Queries(places.number[pixel], offset, position, extent, 1 / total[pixel], inside)
