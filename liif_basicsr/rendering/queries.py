"""Indices of the features around queries and output pixels, and offsets from these features.

A decoder receives the features of one tile, which may be the whole image. The classes here take coordinates in the
whole image, and return indices that count from the tile's first feature, so that decoders need not deal with tiles.
"""
from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.devices import upload
from liif_basicsr.rendering.coordinates import EPS_SHIFT, corner_index, nearest_index, pixel_centers

# The sides (see `corner_index`) of the two features that the local ensemble uses along an axis.
BOTH_SIDES = (-1, 1)

Made = TypeVar("Made")


class Axis:
    """Positions along one axis of an image.

    Args:
        coord: float tensor of any shape, the positions. The image spans [-1, 1].
        cell: size of a queried pixel in the same unit; broadcasts to `coord`.
        n: number of features along the axis in the whole image.
        first: index of the tile's first feature.
        count: number of features along the axis in the tile.

    Attributes:
        rel_cell: size of a queried pixel in the unit of relative coordinates. In this unit a feature is 2 wide.
    """

    def __init__(self, coord: Tensor, cell: Tensor | float, n: int, first: int, count: int) -> None:
        self.coord, self.cell, self.n, self.first, self.count = coord, cell, n, first, count
        self.rel_cell = cell * n

    def corners(self, sides: tuple[int, ...] = BOTH_SIDES) -> tuple[Tensor, Tensor]:
        """Return the indices of the local ensemble's features and the coordinates relative to these features.

        Args:
            sides: the S sides to use: `BOTH_SIDES`, or (0,) for the nearest feature alone; see `corner_index`.

        Returns:
            index: (S, ...) int64.
            rel: (S, ...) float.
        """
        index, rel = zip(*(corner_index(self.coord, self.n, side) for side in sides), strict=True)
        return torch.stack(index) - self.first, torch.stack(rel)

    def neighbors(self) -> tuple[Tensor, Tensor]:
        """Return the indices (..., 2) of the features before and after each position, and an offset (...).

        The offset is the distance from the feature before the position, in [0, 1), in features. Beyond the outermost
        centers, both indices point to the border feature.
        """
        position = (self.coord + 1) * (self.n / 2) - 0.5
        lower = position.floor()
        index = torch.stack([lower, lower + 1], dim=-1).long().clamp(0, self.n - 1)
        return index - self.first, position - lower

    def first_edge(self) -> tuple[Tensor, Tensor]:
        """Return the index of the feature that contains the upper (or left) edge of each queried pixel, and the offset.

        The offset is the position of the edge within that feature, in [0, 1).

        Source: Meta-SR in the official LIIF code.
        """
        edge = self.coord - self.cell / 2
        index = nearest_index((edge + EPS_SHIFT).clamp(-1 + EPS_SHIFT, 1 - EPS_SHIFT), self.n)
        start = (pixel_centers(self.n, device=self.coord.device) - 1 / self.n)[index]  # rounded as in the official code
        return index - self.first, (edge - start) * (self.n / 2)


class Queries:
    """Queries at arbitrary coordinates.

    Args:
        coord: (B, Q, 2), (y, x) of each query. The image spans [-1, 1].
        cell: (B, Q, 2) or (B, 1, 2), size of a queried pixel.
        size: (h, w), number of features of the whole image along each axis.
        origin: (top, left), position of the tile's first feature in the whole image.
        shape: (th, tw), number of features of the tile along each axis; by default the whole image's.
        context: see `Decoder.context`.
    """

    def __init__(
        self,
        coord: Tensor,
        cell: Tensor,
        size: tuple[int, int],
        origin: tuple[int, int] = (0, 0),
        shape: tuple[int, int] | None = None,
        context: Any = None,
    ) -> None:
        self.coord, self.cell, self.context = coord, cell, context
        self.shape = shape or size
        self.y, self.x = (Axis(coord[..., k], cell[..., k], size[k], origin[k], self.shape[k]) for k in (0, 1))

    @property
    def rel_cell(self) -> Tensor:
        """Cells in the unit of relative coordinates, (B, Q, 2) or (B, 1, 2). In this unit a feature is 2 wide."""
        return torch.stack([self.y.rel_cell, self.x.rel_cell], dim=-1)

    def flat_index(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Combine indices along both axes into indices of the features flattened to (B * th * tw, D).

        Args:
            rows, cols: int64 (..., B, Q), with shapes that broadcast to each other.
        """
        th, tw = self.shape
        batch = torch.arange(len(self.coord), device=rows.device)[:, None] * th
        return (batch + rows) * tw + cols

    def corners(self, sides: tuple[int, ...] = BOTH_SIDES) -> tuple[Tensor, Tensor, Tensor]:
        """Return the indices of the local ensemble's features and the coordinates relative to these features.

        Args:
            sides: the S sides to use along each axis: `BOTH_SIDES` for the four features around each query, or (0,)
                for the nearest feature alone; see `corner_index`.

        Returns:
            index: (S, S, B, Q) int64, see `flat_index`.
            rel_y, rel_x: (S, 1, B, Q) and (1, S, B, Q) float.
        """
        (rows, rel_y), (cols, rel_x) = self.y.corners(sides), self.x.corners(sides)
        return self.flat_index(rows[:, None], cols[None]), rel_y[:, None], rel_x[None]

    def grid(self) -> Tensor:
        """Return the queries as the argument `grid` of `grid_sample`, (B, 1, Q, 2), to sample the tile's features."""
        y, x = (
            ((axis.coord + 1) * (axis.n / 2) - axis.first) * (2 / axis.count) - 1 for axis in (self.y, self.x)
        )
        return torch.stack([x, y], dim=-1)[:, None]


class PixelAxis(Axis):
    """Positions of consecutive rows (or columns) of output pixels.

    Args:
        pixels: indices of the rows in the whole output.
        n_out: number of rows of the whole output.
        n, first, count: see `Axis`.
        max_scale: at larger scales, use the cell of this scale; None for no limit.
        device: device of the tensors.
    """

    def __init__(
        self, pixels: range, n_out: int, n: int, first: int, count: int, max_scale: float | None, device: torch.device
    ) -> None:
        cell = 2 / n_out if max_scale is None else max(2 / n_out, 2 / (max_scale * n))
        super().__init__(pixel_centers(n_out, pixels.start, pixels.stop, device), cell, n, first, count)
        self.pixels, self.n_out = pixels, n_out
        self._cache: dict[Hashable, Any] = {}

    def cached(self, make: Callable[..., Made], *args: Hashable) -> Made:
        """Return `make(self, *args)`, computed once and shared by all tiles along the other axis."""
        key = make, *args
        if key not in self._cache:
            self._cache[key] = make(self, *args)
        return self._cache[key]

    def position(self) -> np.ndarray:
        """Return the pixel centers in features, counted from the center of the image's first feature: (R,) float64."""
        return (np.arange(self.pixels.start, self.pixels.stop) + 0.5) * self.n / self.n_out - 0.5

    def corners_in_numpy(self, sides: tuple[int, ...] = BOTH_SIDES) -> tuple[np.ndarray, np.ndarray]:
        """Return the same values as `corners`, bit for bit, as NumPy arrays (len(sides), R), int64 and float32.

        The values are computed in NumPy, because reading them back from a GPU would wait for the work that is queued
        there.
        """
        one, n, n_out = np.float32, self.n, self.n_out
        coord = one(-1 + 1 / n_out) + one(2 * (1 / n_out)) * np.arange(self.pixels.start, self.pixels.stop, dtype=one)
        corner = coord + np.array([side / n + EPS_SHIFT if side else 0 for side in sides], one)[:, None]
        inside = corner.clip(one(-1 + EPS_SHIFT), one(1 - EPS_SHIFT))
        position = ((inside + one(1)).astype(np.float64) * (n / 2) - 0.5).astype(one)
        index = position.round().clip(0, n - 1).astype(np.int64)
        center = one(-1 + 1 / n) + one(2 / n) * index.astype(one)
        return index - self.first, (coord - center) * one(n)


class PixelGrid:
    """A window of output pixels, divided into the blocks that are decoded at a time.

    Args:
        y, x: rows and columns of the window.
        block_pixels: maximum number of pixels per block.
        context: see `Decoder.context`.

    Attributes:
        blocks: slices (rows, columns) of each block.
    """

    def __init__(self, y: PixelAxis, x: PixelAxis, block_pixels: int, context: Any = None) -> None:
        self.y, self.x, self.context = y, x, context
        # Blocks are as wide as possible.
        height, width = len(y.pixels), len(x.pixels)
        step_x = min(width, block_pixels)
        step_y = block_pixels // step_x
        self.blocks = [
            (slice(i, min(i + step_y, height)), slice(j, min(j + step_x, width)))
            for i in range(0, height, step_y)
            for j in range(0, width, step_x)
        ]

    @cached_property
    def cell(self) -> Tensor:
        """Size of an output pixel, (1, 1, 2)."""
        return upload(np.array([[[self.y.cell, self.x.cell]]], np.float32), self.y.coord.device)

    @cached_property
    def rel_cell(self) -> Tensor:
        """Size of an output pixel in the unit of relative coordinates, (2,). In this unit a feature is 2 wide."""
        return upload(np.array([self.y.rel_cell, self.x.rel_cell], np.float32), self.y.coord.device)

    def queries(self, rows: slice, cols: slice) -> Queries:
        """Return the pixels of a block as queries (1, r * c, 2), row by row."""
        coord = torch.stack(torch.meshgrid(self.y.coord[rows], self.x.coord[cols], indexing="ij"), dim=-1)
        (h, w), origin = (self.y.n, self.x.n), (self.y.first, self.x.first)
        shape = self.y.count, self.x.count
        return Queries(coord.flatten(0, 1)[None], self.cell, (h, w), origin, shape, self.context)
