"""The feature grid of a picture of any size, in bounded memory."""
from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

# Input pixels along an edge of what is encoded at a time: small enough that a first look does not wait long.
TILE = 256
# Up to so many pixels, an encoder of unbounded sight gets a picture as a whole. The tiles of a larger one are larger
# than others, for what they do not see is lost.
WHOLE, BLENDED_TILE = 1 << 20, 512
# How far blended tiles reach beyond their edges.
OVERLAP = 32


def open_features(
    lq: Tensor, encoder: Any, encode: Callable[[Tensor], Tensor], max_bytes: int = 1 << 30
) -> FeatureTiles:
    """The features of a picture: exact if the encoder's sight is bounded or the picture small, else blended.

    Args:
        lq: (1, 3, h, w).
        encoder: see `liif_basicsr.archs.encoders`.
        encode: (1, 3, h, w) to (1, C, h, w).
        max_bytes: features that are kept.

    Warns:
        UserWarning: the picture is too large for an encoder without receptive_radius.
    """
    h, w = lq.shape[-2:]
    if encoder.receptive_radius is not None:
        return FeatureTiles(lq, encode, encoder.out_channels, TILE, encoder.receptive_radius, max_bytes)
    if h * w <= WHOLE:
        return FeatureTiles(lq, encode, encoder.out_channels, max(h, w), 0, max_bytes)
    warnings.warn(
        f"{type(encoder).__name__} has no receptive_radius, and a picture of {h}x{w} is too large to be encoded as a "
        "whole: it is encoded in tiles that are blended, which is near that, not equal",
        stacklevel=3,
    )
    return BlendedTiles(lq, encode, encoder.out_channels, BLENDED_TILE, OVERLAP, max_bytes)


class FeatureTiles:
    """The feature grid of a picture, sliced like a tensor (1, C, h, w), of which no more than needed is computed.

    Args:
        lq: (1, 3, h, w).
        encode: (1, 3, h, w) to (1, C, h, w).
        channels: C.
        tile: the longest edge of a tile.
        halo: pixels around a tile that are encoded with it: how far the encoder sees.
        max_bytes: features that are kept; those not used for longest go first. One tile is always kept.
    """

    def __init__(
        self, lq: Tensor, encode: Callable[[Tensor], Tensor], channels: int, tile: int, halo: int, max_bytes: int
    ) -> None:
        self.lq, self.encode, self.halo = lq, encode, halo
        self.shape, self.dtype, self.device = (1, channels, *lq.shape[-2:]), lq.dtype, lq.device
        self.tile = tuple(math.ceil(n / math.ceil(n / tile)) for n in lq.shape[-2:])
        tile_bytes = channels * lq.element_size() * self.tile[0] * self.tile[1]
        self._encoded = lru_cache(max(1, max_bytes // tile_bytes))(self._encode)

    def _encode(self, row: int, col: int) -> Tensor:
        """The features of the tile whose first pixel is (row, col); its halo is encoded with it and cut off."""
        feat, top, left = self._with_halo(row, col)
        # A copy, for a view would keep the halo in memory.
        return feat[:, :, row - top :, col - left :][:, :, : self.tile[0], : self.tile[1]].clone()

    def _with_halo(self, row: int, col: int) -> tuple[Tensor, int, int]:
        """Encode a tile and its halo; and the first pixel of that."""
        top, left = max(0, row - self.halo), max(0, col - self.halo)
        bottom, right = row + self.tile[0] + self.halo, col + self.tile[1] + self.halo
        return self.encode(self.lq[:, :, top:bottom, left:right]), top, left

    def __getitem__(self, part: tuple[slice, slice, slice, slice]) -> Tensor:
        rows, cols = part[2:]
        return torch.cat([self._row_of_tiles(row, rows, cols) for row in self._firsts(rows, 0)], dim=2)

    def _row_of_tiles(self, row: int, rows: slice, cols: slice) -> Tensor:
        own_rows = slice(max(0, rows.start - row), rows.stop - row)
        tiles = ((self._encoded(row, col), col) for col in self._firsts(cols, 1))
        return torch.cat([feat[:, :, own_rows, max(0, cols.start - c) : cols.stop - c] for feat, c in tiles], dim=3)

    def _firsts(self, part: slice, axis: int) -> range:
        """The first pixels of the tiles that hold this part of an axis, 0 for rows and 1 for columns."""
        tile = self.tile[axis]
        return range(part.start // tile * tile, part.stop, tile)


class BlendedTiles(FeatureTiles):
    """As `FeatureTiles`, for an encoder that sees further than any halo: at its edges a tile fades into the next."""

    def _encode(self, row: int, col: int) -> Tensor:
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
