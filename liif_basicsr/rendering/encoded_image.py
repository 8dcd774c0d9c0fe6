"""An image whose features are computed once, where they are first needed, and used again at any scale."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from liif_basicsr.rendering.features import FeatureTiles
from liif_basicsr.rendering.tiles import Tile, Window, check_size, check_window

# Queries that are decoded at a time in `sample`.
QUERIES = 1 << 13
# Features beyond the four around a place that `sample` gives to the decoder.
SAMPLE_HALO = 4


class EncodedImage:
    """One image in a network, see `ContinuousNetwork.encode_image`.

    Args:
        features: of the whole image.
        render: (size, window, features) to the colours of a window.
        sample: (features of a tile, coord, cell, the tile) to colours.
    """

    def __init__(
        self,
        features: FeatureTiles,
        render: Callable[[tuple[int, int], Window, FeatureTiles], Tensor],
        sample: Callable[[Tensor, Tensor, Tensor, Tile], Tensor],
    ) -> None:
        self.features, self._render, self._sample = features, render, sample

    @torch.no_grad()
    def render(self, size: tuple[int, int], window: tuple[int, int, int, int] | None = None) -> Tensor:
        """What `ContinuousNetwork.render` gives, equal to rounding: (1, 3, height, width), RGB in [0, 1].

        Args:
            size: (H, W) of the whole enlarged image, another one each time if need be.
            window: (top, left, height, width): the part of it to return; all of it by default.

        Raises:
            LIIFError: a size below 1 or a window that does not lie in the image.
        """
        return self._render(check_size(size), check_window(size, window), self.features)

    @torch.no_grad()
    def sample(self, coord: Tensor, cell: Tensor, fill: float = 0.0) -> Tensor:
        """What `ContinuousNetwork.sample` gives, for one image: (1, Q, 3).

        Args:
            coord, cell: (1, Q, 2).
            fill: what places beyond [-1, 1] get.
        """
        out = torch.full((*coord.shape[:2], 3), fill, dtype=self.features.dtype, device=coord.device)
        size = coord.new_tensor(self.features.shape[-2:])
        inside = (coord.abs() <= 1).all(-1)[0].nonzero()[:, 0]
        edge = torch.tensor(self.features.tile, device=coord.device)
        at = (((coord[0, inside] + 1) / 2 * size).clamp_min(0).minimum(size - 1) / edge).floor().long()
        # Queries of one tile side by side, so that each tile is taken up once.
        number = at[:, 0] * (1 << 20) + at[:, 1]
        number, order = number.sort(stable=True)
        numbers, counts = number.unique_consecutive(return_counts=True)
        for one, queries in zip(numbers.tolist(), inside[order].split(counts.tolist()), strict=True):
            row, col = divmod(one, 1 << 20)
            part, tile = self._with_halo(row, col)
            for chunk in queries.split(QUERIES):
                out[:, chunk] = self._sample(part, coord[:, chunk], cell[:, chunk], tile).to(out.dtype)
        return out

    def _with_halo(self, row: int, col: int) -> tuple[Tensor, Tile]:
        """A tile of the features with what lies around it."""
        (th, tw), (h, w) = self.features.tile, self.features.shape[-2:]
        top, left = max(0, row * th - SAMPLE_HALO), max(0, col * tw - SAMPLE_HALO)
        bottom, right = min(h, (row + 1) * th + SAMPLE_HALO), min(w, (col + 1) * tw + SAMPLE_HALO)
        return self.features[:, :, top:bottom, left:right], Tile((h, w), (top, left))
