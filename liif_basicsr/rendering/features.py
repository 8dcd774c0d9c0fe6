"""The feature grid of an image of any size, in bounded memory."""
from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Input pixels along an edge of what is encoded at a time: small enough that a first look does not wait long.
TILE = 256
# Up to so many pixels, an encoder whose receptive field is unbounded gets an image as a whole. The tiles of a larger
# one are larger than others, for what lies outside them is lost.
WHOLE, BLENDED_TILE = 1 << 20, 512
# How far blended tiles reach beyond their edges.
OVERLAP = 32


def encode_tiles(
    lq: Tensor,
    radius: int | None,
    encode: Callable[[Tensor], Tensor],
    max_bytes: int = 1 << 30,
    tile: int | None = None,
) -> FeatureTiles:
    """The features of an image: exact if the receptive field is bounded or the image small, else blended.

    Args:
        lq: (1, 3, h, w).
        radius: of the receptive field of `encode`, in pixels; None where it is unbounded.
        encode: (1, 3, h, w) to (1, C, h, w).
        max_bytes: features that are kept.
        tile: the longest edge of a tile, TILE by default, where the receptive field is bounded.

    Warns:
        UserWarning: the image is too large for an encoder without receptive_radius.
    """
    h, w = lq.shape[-2:]
    if radius is not None:
        return FeatureTiles(lq, encode, tile or TILE, radius, max_bytes)
    if h * w <= WHOLE:
        return FeatureTiles(lq, encode, max(h, w), 0, max_bytes)
    warnings.warn(
        f"the encoder has no receptive_radius, and an image of {h}x{w} is too large to be encoded as a whole: it is "
        "encoded in tiles that are blended, which is close to that, not equal",
        stacklevel=3,
    )
    return BlendedTiles(lq, encode, BLENDED_TILE, OVERLAP, max_bytes)


class FeatureTiles:
    """The feature grid of an image, sliced like a tensor (1, C, h, w), of which no more than needed is computed.

    Args:
        lq: (1, 3, h, w).
        encode: (1, 3, h, w) to (1, C, h, w).
        tile: the longest edge of a tile.
        halo: pixels around a tile that are encoded with it: the radius of the receptive field.
        max_bytes: features that are kept; the least recently used go first. One tile is always kept.

    Attributes:
        along: what is kept for the views of the image, see `View`.
    """

    def __init__(
        self, lq: Tensor, encode: Callable[[Tensor], Tensor], tile: int, halo: int, max_bytes: int
    ) -> None:
        self.lq, self.encode, self.halo, self.max_bytes = lq, encode, halo, max_bytes
        self.shape, self.dtype, self.device = (1, None, *lq.shape[-2:]), lq.dtype, lq.device
        self.tile = tuple(math.ceil(n / math.ceil(n / tile)) for n in lq.shape[-2:])
        self._kept: OrderedDict[tuple[Any, ...], Tensor] = OrderedDict()
        self.along: OrderedDict[Any, Any] = OrderedDict()

    def around(self, row: int, col: int, margin: int) -> tuple[Tensor, tuple[int, int]]:
        """The features of a tile and of `margin` pixels around it, in one piece; and the first pixel of that.

        Args:
            row, col: which tile, the first being (0, 0).
        """
        row, col = row * self.tile[0], col * self.tile[1]
        return self._encoded(row, col, margin), (max(0, row - margin), max(0, col - margin))

    def _encoded(self, row: int, col: int, margin: int = 0) -> Tensor:
        """The features of the tile whose first pixel is (row, col), computed at the first call."""
        # Autocast decides the precision of features; each precision has tiles of its own.
        precision = torch.is_autocast_enabled(self.device.type) and torch.get_autocast_dtype(self.device.type)
        key = (row, col, margin, precision)
        if key not in self._kept:
            self._make_room(0)
            self._kept[key] = self._encode(row, col, margin)
            self._make_room(1)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _make_room(self, spared: int) -> None:
        """Let go of the least recently used tiles, but for the last `spared`, until the others fit."""
        while len(self._kept) > spared and sum(feat.nbytes for feat in self._kept.values()) > self.max_bytes:
            self._kept.popitem(last=False)

    def _encode(self, row: int, col: int, margin: int) -> Tensor:
        """The features of a tile and a margin; its halo is encoded with it and cut off."""
        feat, top, left = self._with_halo(row, col, margin)
        first_row, first_col = max(0, row - margin), max(0, col - margin)
        part = feat[:, :, first_row - top : row + self.tile[0] + margin - top]
        # A copy, for a view would keep the halo in memory.
        return part[:, :, :, first_col - left : col + self.tile[1] + margin - left].clone()

    def _with_halo(self, row: int, col: int, margin: int = 0) -> tuple[Tensor, int, int]:
        """Encode a tile with its halo beyond a margin; and the first pixel of that."""
        more = self.halo + margin
        top, left = max(0, row - more), max(0, col - more)
        bottom, right = row + self.tile[0] + more, col + self.tile[1] + more
        return self.encode(self.lq[:, :, top:bottom, left:right]), top, left

    def __getitem__(self, part: tuple[slice, slice, slice, slice]) -> Tensor:
        rows, cols = part[2:]
        return _joined([self._row_of_tiles(row, rows, cols) for row in self._firsts(rows, 0)], 2)

    def _row_of_tiles(self, row: int, rows: slice, cols: slice) -> Tensor:
        own_rows = slice(max(0, rows.start - row), rows.stop - row)
        tiles = ((self._encoded(row, col), col) for col in self._firsts(cols, 1))
        return _joined([feat[:, :, own_rows, max(0, cols.start - c) : cols.stop - c] for feat, c in tiles], 3)

    def _firsts(self, part: slice, axis: int) -> range:
        """The first pixels of the tiles that hold this part of an axis, 0 for rows and 1 for columns."""
        tile = self.tile[axis]
        return range(part.start // tile * tile, part.stop, tile)


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    """Parts side by side; one alone as it is, not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)


class BlendedTiles(FeatureTiles):
    """`FeatureTiles` for an unbounded receptive field: at its edges a tile fades into the next."""

    def around(self, row: int, col: int, margin: int) -> tuple[Tensor, tuple[int, int]]:
        """See `FeatureTiles`; blended."""
        (th, tw), (h, w) = self.tile, self.shape[2:]
        top, left = max(0, row * th - margin), max(0, col * tw - margin)
        bottom, right = min(h, (row + 1) * th + margin), min(w, (col + 1) * tw + margin)
        return self[:, :, top:bottom, left:right], (top, left)

    def _encode(self, row: int, col: int, margin: int) -> Tensor:
        return self._with_halo(row, col)[0]

    def __getitem__(self, part: tuple[slice, slice, slice, slice]) -> Tensor:
        rows, cols = part[2:]
        total: Any = 0
        for row in self._firsts(self._widened(rows, 0), 0):
            for col in self._firsts(self._widened(cols, 1), 1):
                feat = self._encoded(row, col)
                weight = self._share(rows, row, 0)[:, None] * self._share(cols, col, 1)
                index = self._within(rows, row, feat.shape[2]), self._within(cols, col, feat.shape[3])
                total = total + feat[:, :, index[0]][:, :, :, index[1]] * weight.to(feat.dtype)
        return total

    def _widened(self, part: slice, axis: int) -> slice:
        """The part and what lies less than a halo from it."""
        return slice(max(0, part.start - self.halo), min(part.stop + self.halo, self.shape[2 + axis]))

    def _within(self, part: slice, first: int, length: int) -> Tensor:
        """Where the pixels of a part lie in what was encoded of the tile; those that do not, at its border."""
        index = torch.arange(part.start, part.stop, device=self.device) - max(0, first - self.halo)
        return index.clamp(0, length - 1)

    def _share(self, part: slice, first: int, axis: int) -> Tensor:
        """What a tile contributes to each pixel of a part of an axis; the shares of all tiles sum to 1."""
        at = torch.arange(part.start, part.stop, device=self.device) + 0.5
        stop = first + self.tile[axis]
        rise = (at - first) / (2 * self.halo) + 0.5 if first > 0 else torch.ones_like(at)
        fall = (at - stop) / (2 * self.halo) + 0.5 if stop < self.shape[2 + axis] else torch.zeros_like(at)
        return rise.clamp(0, 1) - fall.clamp(0, 1)
