"""Coordinates sorted by the features that they see: for decoders that go from feature to feature."""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Slots(NamedTuple):
    """What N features along one axis are seen by: each has M slots, as many as the one that most coordinates see.

    feature: (N,) int64, ascending.
    rel: (N, M), how far the coordinate in a slot is, see `corner_index`; 0 in a slot that is not used.
    place: (sides, R) int64, the slot of each coordinate in each of its features, counted over all N * M.
    """

    feature: Tensor
    rel: Tensor
    place: Tensor


def sort_by_feature(index: Tensor, rel: Tensor) -> Slots:
    """Give each feature that is seen the coordinates that see it.

    Args:
        index: (sides, R) int64, the features that R coordinates see.
        rel: (sides, R), how far they are.
    """
    pairs = index.flatten()
    feature, group, count = torch.unique(pairs, return_inverse=True, return_counts=True)
    slots = int(count.max())
    order = group.argsort(stable=True)
    within = torch.arange(len(pairs), device=pairs.device) - (count.cumsum(0) - count)[group[order]]
    place = torch.empty_like(pairs)
    place[order] = group[order] * slots + within
    sorted_rel = rel.new_zeros(len(feature) * slots)
    sorted_rel[place] = rel.flatten()
    return Slots(feature, sorted_rel.view(-1, slots), place.view_as(index))


def from_slots(values: Tensor, y: Slots, x: Slots) -> Tensor:
    """What features hold in their slots, back at the coordinates.

    Args:
        values: (Ny, Nx, My, Mx, 3).

    Returns:
        (sides, sides, R, C, 3).
    """
    ny, nx, my, mx, _ = values.shape
    values = values.transpose(1, 2).reshape(ny * my, nx * mx, 3)
    values = values.index_select(0, y.place.flatten()).index_select(1, x.place.flatten())
    return values.unflatten(0, y.place.shape).unflatten(2, x.place.shape).transpose(1, 2)
