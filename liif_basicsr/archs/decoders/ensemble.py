"""The local ensemble: the features around a coordinate, and the mean of what a decoder makes of each."""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from liif_basicsr.rendering.coordinates import corner_index
from liif_basicsr.rendering.tiles import Tile

# The two neighbours along an axis, see `corner_index`.
SIDES = (-1, 1)
# What the official codes add to a corner's area, so that the four never sum to nothing.
EPS_AREA = 1e-9


class Axis(NamedTuple):
    """The features around coordinates along one axis, sides first: their `index`, and `rel`, how far they are."""

    index: Tensor
    rel: Tensor

    def part(self, pixels: slice) -> Axis:
        """Those of some coordinates."""
        return Axis(self.index[:, pixels], self.rel[:, pixels])


def look_up(coord: Tensor, n: int, sides: tuple[int, ...] = SIDES, first: int = 0) -> Axis:
    """The features around coordinates along one axis of `n` features: (...) in [-1, 1] to (sides, ...) each.

    Args:
        first: the feature that indices are counted from.
    """
    index, rel = zip(*(corner_index(coord, n, side) for side in sides), strict=True)
    return Axis(torch.stack(index) - first, torch.stack(rel))


def look_up_queries(
    coord: Tensor, size: tuple[int, int], sides: tuple[int, ...] = SIDES, tile: Tile | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The features around queries.

    Args:
        coord: (B, Q, 2), (y, x) in [-1, 1].
        size: (h, w) of the feature grid, or of the `tile` of one that is at hand.

    Returns:
        index: (sides, sides, B, Q) int64, into the B * h * w features at hand.
        rel_y, rel_x: (sides, 1, B, Q) and (1, sides, B, Q), how far these are, see `corner_index`.
    """
    (h, w), (top, left) = tile or (size, (0, 0))
    rows, cols = look_up(coord[..., 0], h, sides, top), look_up(coord[..., 1], w, sides, left)
    first_row = torch.arange(len(coord), device=coord.device)[:, None] * size[0]
    index = (first_row + rows.index[:, None]) * size[1] + cols.index[None]
    return index, rows.rel[:, None], cols.rel[None]


def cell_in_features(cell: Tensor, size: tuple[int, int], tile: Tile | None = None) -> Tensor:
    """Cells (..., 2) of queries relative to the features, of which each is 2 wide; size and tile as above."""
    h, w = tile.in_size if tile else size
    return torch.stack([cell[..., 0] * h, cell[..., 1] * w], dim=-1)


def limit_cell(cell: Tensor, in_size: tuple[int, int], max_scale: float | None) -> Tensor:
    """Cells (..., 2) of an input of `in_size` (h, w), none smaller than where it is enlarged by `max_scale`.

    Source: the official tests of LTE and LM-LIIF, which decode larger scales than those of training so.
    """
    if max_scale is None:
        return cell
    return torch.stack([(cell[..., k] * in_size[k]).clamp(min=2 / max_scale) / in_size[k] for k in (0, 1)], dim=-1)


def linear_of_two(x: Tensor, weight: Tensor) -> Tensor:
    """A linear layer of coordinates or cells, in their precision also within autocast: (..., 2), (D, 2) to (..., D)."""
    return x[..., :1] * weight[:, 0] + x[..., 1:] * weight[:, 1]


def pick(grid: Tensor, index: Tensor) -> Tensor:
    """The features (B, h, w, D) of an index from `look_up_queries`: (*index.shape, D)."""
    return grid.flatten(0, 2).index_select(0, index.flatten()).unflatten(0, index.shape)


def mean_of_corners(outputs: Tensor, rel_y: Tensor, rel_x: Tensor) -> Tensor:
    """The corners' mean, each weighted by the area of the diagonally opposite one.

    Args:
        outputs: (sides, sides, ..., 3).
        rel_y, rel_x: (sides, 1, ...) and (1, sides, ...), of shapes that broadcast to those of outputs.

    Returns:
        (..., 3).

    Source: LIIF, equation 4.
    """
    area = ((rel_y * rel_x).abs() + EPS_AREA).flatten(0, 1)
    weight = (area.flip(0) / area.sum(0))[..., None]
    first, *others = zip(outputs.flatten(0, 1), weight, strict=True)
    mean = first[0] * first[1]
    for corner in others:
        mean = torch.addcmul(mean, *corner)
    return mean
