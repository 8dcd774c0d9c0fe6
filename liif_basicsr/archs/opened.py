"""A picture that is looked into again and again: its features are computed once, where they are first needed."""
from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from liif_basicsr.render import Window, check_window

# Input pixels along an edge of what is encoded at a time: small enough that a first look does not wait long.
TILE = 256


class FeatureTiles:
    """The feature grid of a picture, sliced like a tensor (1, C, h, w), of which no more than needed is computed.

    Args:
        lq: (1, 3, h, w).
        encode: (1, 3, h, w) to (1, C, h, w).
        channels: C.
        halo: how far the encoder sees; None encodes the picture as a whole.
        max_bytes: features that are kept; those not used for longest go first. One tile is always kept.
    """

    def __init__(
        self, lq: Tensor, encode: Callable[[Tensor], Tensor], channels: int, halo: int | None, max_bytes: int
    ) -> None:
        self.lq, self.encode, self.halo = lq, encode, halo
        self.shape, self.dtype, self.device = (1, channels, *lq.shape[-2:]), lq.dtype, lq.device
        self.tile = max(lq.shape[-2:]) if halo is None else TILE
        tile_bytes = channels * lq.element_size() * min(self.tile, lq.shape[-2]) * min(self.tile, lq.shape[-1])
        self._encoded = lru_cache(max(1, max_bytes // tile_bytes))(self._encode)

    def _encode(self, row: int, col: int) -> Tensor:
        """The features of the tile whose first pixel is (row, col); its halo is encoded with it and cut off."""
        halo, stops = self.halo or 0, (row + self.tile, col + self.tile)
        top, left = max(0, row - halo), max(0, col - halo)
        feat = self.encode(self.lq[:, :, top : stops[0] + halo, left : stops[1] + halo])
        # A copy, for a view would keep the halo in memory.
        return feat[:, :, row - top : stops[0] - top, col - left : stops[1] - left].clone()

    def __getitem__(self, part: tuple[slice, slice, slice, slice]) -> Tensor:
        rows, cols = part[2:]
        return torch.cat([self._row_of_tiles(row, rows, cols) for row in self._firsts(rows)], dim=2)

    def _row_of_tiles(self, row: int, rows: slice, cols: slice) -> Tensor:
        own_rows = slice(max(0, rows.start - row), rows.stop - row)
        tiles = ((self._encoded(row, col), col) for col in self._firsts(cols))
        return torch.cat([feat[:, :, own_rows, max(0, cols.start - c) : cols.stop - c] for feat, c in tiles], dim=3)

    def _firsts(self, part: slice) -> range:
        """The first pixels of the tiles that hold this part of an axis."""
        return range(part.start // self.tile * self.tile, part.stop, self.tile)


class OpenPicture:
    """One picture in a network, see `ContinuousNetwork.open`.

    Args:
        render: (size, window, features) to the colours.
    """

    def __init__(
        self, features: FeatureTiles, render: Callable[[tuple[int, int], Window, FeatureTiles], Tensor]
    ) -> None:
        self._features, self._render = features, render

    @torch.no_grad()
    def window(self, size: tuple[int, int], window: tuple[int, int, int, int] | None = None) -> Tensor:
        """What `ContinuousNetwork.render` gives, equal to rounding: (1, 3, height, width), RGB in [0, 1].

        Args:
            size: (H, W) of the whole enlarged picture, another one each time if need be.
            window: (top, left, height, width): the part of it to return; all of it by default.

        Raises:
            LIIFError: a size below 1 or a window that does not lie in the picture.
        """
        return self._render(size, check_window(size, window), self._features)
