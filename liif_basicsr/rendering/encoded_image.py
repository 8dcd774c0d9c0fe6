"""An image whose features are computed once, where they are first needed, and used again at any scale."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from liif_basicsr.rendering.features import FeatureTiles
from liif_basicsr.rendering.tiles import Tile, Window, check_size, check_window

# Queries that are decoded at a time in `query`.
QUERIES = 1 << 11
# Features beyond the four around a place that `query` gives to the decoder.
MARGIN = 4


class FeaturePart(NamedTuple):
    """Features (1, C, h, w) of a tile with what lies around it, and where that is in the input."""

    features: Tensor
    tile: Tile


class EncodedImage:
    """One image in a network, see `ContinuousNetwork.encode_image`.

    Args:
        features: of the whole image.
        render: (size, window, features or None) to the colours of a window.
        sample: (features of a tile, coord, cell, the tile) to colours.
    """

    def __init__(
        self,
        features: FeatureTiles,
        render: Callable[[tuple[int, int], Window, FeatureTiles | None], Tensor],
        sample: Callable[[Tensor, Tensor, Tensor, Tile], Tensor],
    ) -> None:
        self.features, self._render, self._sample = features, render, sample

    @property
    def in_size(self) -> tuple[int, int]:
        """(h, w) of the image."""
        h, w = self.features.shape[-2:]
        return h, w

    @torch.no_grad()
    def render(self, size: tuple[int, int], window: tuple[int, int, int, int] | None = None) -> Tensor:
        """What `ContinuousNetwork.render` gives, equal to rounding: (1, 3, height, width), RGB in [0, 1].

        Args:
            size: (H, W) of the whole enlarged image, another one each time if need be.
            window: (top, left, height, width): the part of it to return; all of it by default.

        Raises:
            LIIFError: a size below 1 or a window that does not lie in the image.
        """
        features = self.features if self.features.max_bytes else None  # those of the tiles that render cuts
        return self._render(check_size(size), check_window(size, window), features)

    @torch.no_grad()
    def sample(self, coord: Tensor, cell: Tensor, fill: float = 0.0) -> Tensor:
        """What `ContinuousNetwork.sample` gives, for one image: (1, Q, 3).

        Args:
            coord, cell: (1, Q, 2).
            fill: what places beyond [-1, 1] get.
        """
        out = torch.full((*coord.shape[:2], 3), fill, dtype=self.features.dtype, device=coord.device)
        inside = (coord.abs() <= 1).all(-1)[0].nonzero()[:, 0]
        size, edge = coord.new_tensor(self.in_size), torch.tensor(self.features.tile, device=coord.device)
        at = (((coord[0, inside] + 1) / 2 * size).clamp_min(0).minimum(size - 1) / edge).floor().long()
        # Queries of one tile side by side, so that each tile is taken up once.
        number = at[:, 0] * (1 << 20) + at[:, 1]
        number, order = number.sort(stable=True)
        numbers, counts = number.unique_consecutive(return_counts=True)
        for one, queries in zip(numbers.tolist(), inside[order].split(counts.tolist()), strict=True):
            part = self.part(*divmod(one, 1 << 20))
            out[:, queries] = self.query(part, coord[:, queries], cell[:, queries]).to(out.dtype)
        return out

    def part(self, row: int, col: int) -> FeaturePart:
        """A tile of the features, the first being (0, 0), with what lies around it."""
        features, origin = self.features.around(row, col, MARGIN)
        return FeaturePart(features.contiguous(memory_format=torch.channels_last), Tile(self.in_size, origin))

    @torch.no_grad()
    def query(self, part: FeaturePart, coord: Tensor, cell: Tensor) -> Tensor:
        """Colours (1, Q, 3) at places that lie in the tile of a part.

        Args:
            coord, cell: (1, Q, 2), of the whole image, as for `sample`.
        """
        chunks = zip(coord.split(QUERIES, dim=1), cell.split(QUERIES, dim=1), strict=True)
        return torch.cat([self._sample(part.features, *chunk, part.tile) for chunk in chunks], dim=1)
