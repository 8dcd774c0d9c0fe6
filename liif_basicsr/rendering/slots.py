"""Coordinates sorted by the features that they see: for decoders that go from feature to feature."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np
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


def sort_by_feature(index: np.ndarray, rel: np.ndarray, device: torch.device) -> Slots:
    """Give each feature that is seen the coordinates that see it.

    How many there are decides shapes, so it is counted here and not on the device, which would be waited for.

    Args:
        index: (sides, R) int64, the features that R coordinates see.
        rel: (sides, R) float32, how far they are.
        device: of the result.
    """
    pairs = index.ravel()
    feature, group, count = np.unique(pairs, return_inverse=True, return_counts=True)
    slots = int(count.max())
    order = np.argsort(group, kind="stable")
    within = np.arange(len(pairs)) - np.repeat(count.cumsum() - count, count)
    place = np.empty_like(pairs)
    place[order] = group[order] * slots + within
    sorted_rel = np.zeros(len(feature) * slots, rel.dtype)
    sorted_rel[place] = rel.ravel()
    tensors = feature, sorted_rel.reshape(-1, slots), place.reshape(index.shape)
    return Slots(*(torch.from_numpy(array).to(device) for array in tensors))


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
