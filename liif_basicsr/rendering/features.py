"""The features of one image, encoded region by region in bounded memory."""
from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from liif_basicsr.devices import on_threads


class Region(NamedTuple):
    """Features of a part of the image.

    features: (1, C, th, tw).
    origin: (top, left), position of the first feature in the whole image.
    """

    features: Tensor
    origin: tuple[int, int]


class Features:
    """Encodes the image in the tiles of a fixed grid, and caches the most recently used tiles.

    Args:
        lq: (1, C, h, w), the image.
        encode: function that maps an image (1, C, h, w) to features (1, D, h, w).
        radius: receptive radius of `encode` in pixels.
        tile: longest edge of a tile in pixels.
        max_bytes: maximum size of the cached features in bytes; at least one tile is cached. None disables the cache:
            each region is encoded when it is requested, and callers request regions of about the size of a tile.
        threads: number of torch threads for encoding; None uses the current number.
    """

    def __init__(
        self,
        lq: Tensor,
        encode: Callable[[Tensor], Tensor],
        radius: int,
        tile: int,
        max_bytes: int | None,
        threads: int | None = None,
    ) -> None:
        self.lq, self.encode, self.radius, self.threads = lq, encode, radius, threads
        self.is_cached, self.max_bytes = max_bytes is not None, max_bytes or 0
        self._tiles: OrderedDict[Any, Region] = OrderedDict()
        self.size = (lq.shape[-2], lq.shape[-1])
        self.tile = tuple(math.ceil(n / math.ceil(n / tile)) for n in self.size)

    def region(self, rows: range, cols: range) -> Region:
        """Return a region that contains these rows and columns. The features around them may be inexact."""
        if not self.is_cached:
            return self._encode(rows, cols)
        strips = []
        for row in self._tile_starts(rows, 0):
            own = slice(max(0, rows.start - row), rows.stop - row)
            parts = [
                self._tile(row, col).features[:, :, own, max(0, cols.start - col) : cols.stop - col]
                for col in self._tile_starts(cols, 1)
            ]
            strips.append(_join(parts, 3))
        return Region(_join(strips, 2), (rows.start, cols.start))

    def _tile_starts(self, pixels: range, axis: int) -> range:
        """Return the first pixel of each tile that overlaps `pixels` along an axis."""
        step = self.tile[axis]
        return range(pixels.start // step * step, pixels.stop, step)

    def _tile(self, row: int, col: int) -> Region:
        """Return the tile that starts at (row, col), encoding it on first use."""
        key = (row, col, autocast_dtype(self.lq.device.type))  # each precision has its own tiles
        if key not in self._tiles:
            self._evict(0)
            self._tiles[key] = self._encode_tile(row, col)
            self._evict(1)
        self._tiles.move_to_end(key)
        return self._tiles[key]

    def _encode_tile(self, row: int, col: int) -> Region:
        (th, tw), (h, w) = self.tile, self.size
        rows, cols = range(row, min(row + th, h)), range(col, min(col + tw, w))
        features, (top, left) = self._encode(rows, cols)
        own = features[:, :, row - top : rows.stop - top, col - left : cols.stop - left]
        return Region(own.clone(), (row, col))  # a view would keep the margin in memory

    def _encode(self, rows: range, cols: range) -> Region:
        """Encode a region with a margin of `radius` pixels around it."""
        top, left = max(0, rows.start - self.radius), max(0, cols.start - self.radius)
        part = self.lq[:, :, top : rows.stop + self.radius, left : cols.stop + self.radius]
        if self.threads is None:
            return Region(self.encode(part), (top, left))
        with on_threads(self.threads):
            return Region(self.encode(part), (top, left))

    def _evict(self, spared: int) -> None:
        """Drop the least recently used tiles until the rest fits into `max_bytes`, but keep the last `spared` tiles."""
        while len(self._tiles) > spared and sum(r.features.nbytes for r in self._tiles.values()) > self.max_bytes:
            self._tiles.popitem(last=False)


class BlendedFeatures(Features):
    """`Features` for an encoder with an unbounded receptive field.

    Neighboring tiles overlap by twice `radius` and are blended linearly there.
    """

    def region(self, rows: range, cols: range) -> Region:
        """Return the blended features of these rows and columns."""
        total: Any = 0
        for row in self._tile_starts(self._widened(rows, 0), 0):
            for col in self._tile_starts(self._widened(cols, 1), 1):
                features, (top, left) = self._tile(row, col)
                weight = self._weight(rows, row, 0)[:, None] * self._weight(cols, col, 1)
                index_y, index_x = self._index(rows, top, features.shape[2]), self._index(cols, left, features.shape[3])
                total = total + features[:, :, index_y][:, :, :, index_x] * weight.to(features.dtype)
        return Region(total, (rows.start, cols.start))

    def _encode_tile(self, row: int, col: int) -> Region:
        return self._encode(range(row, row + self.tile[0]), range(col, col + self.tile[1]))

    def _widened(self, pixels: range, axis: int) -> range:
        return range(max(0, pixels.start - self.radius), min(pixels.stop + self.radius, self.size[axis]))

    def _index(self, pixels: range, first: int, length: int) -> Tensor:
        """Return the index of each pixel within an encoded tile, clamped to the tile's border."""
        index = torch.arange(pixels.start, pixels.stop, device=self.lq.device) - first
        return index.clamp(0, length - 1)

    def _weight(self, pixels: range, first: int, axis: int) -> Tensor:
        """Return the weight of the tile that starts at `first` for each pixel along an axis.

        At each pixel, the weights of all tiles sum to 1.
        """
        center = torch.arange(pixels.start, pixels.stop, device=self.lq.device) + 0.5
        stop = first + self.tile[axis]
        rise = (center - first) / (2 * self.radius) + 0.5 if first > 0 else torch.ones_like(center)
        fall = (center - stop) / (2 * self.radius) + 0.5 if stop < self.size[axis] else torch.zeros_like(center)
        return rise.clamp(0, 1) - fall.clamp(0, 1)


def autocast_dtype(device: str) -> torch.dtype | None:
    """Return the dtype of autocast for a device type, or None if autocast is off."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _join(parts: list[Tensor], dim: int) -> Tensor:
    """Concatenate parts. A single part is returned without a copy."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)
