"""One small MLP per feature of an image, evaluated together for all pixels that see the feature."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from liif_basicsr.devices import upload
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.fused_mlp import fused_mlp, relu_


class FeatureMLPs:
    """MLPs of N features, without gradients: shared layers, with scales and shifts of the hidden units per feature.

    Scales and shifts are folded into weights and biases, so that a layer is one matrix product per feature.

    Args:
        layers: the shared layers.
        coord_weight: the first layer's weights of the relative coordinate, (D, 2).
        start: the rest of the first layer, (N, D).
        scale, shift: factor and offset of the units of each hidden layer, (N, layers, D).
    """

    def __init__(
        self, layers: Sequence[nn.Linear], coord_weight: Tensor, start: Tensor, scale: Tensor, shift: Tensor
    ) -> None:
        self.start, self.scale, self.shift = start, scale, shift
        self.coord_weight = coord_weight.detach()
        self.weights = [layer.weight.detach().T.to(start.dtype) for layer in layers[1:-1]]
        self.biases = [layer.bias.detach().to(start.dtype) for layer in layers[1:-1]]
        self.num_out = layers[-1].out_features
        self.last = fused_mlp(layers[-1:], start, relu_first=False)

    def __call__(self, y: Slots, x: Slots, width: int) -> Tensor:
        """Evaluate the MLPs of all features that are seen.

        Args:
            y, x: relative coordinates in the slots of rows and columns of features.
            width: features per row.

        Returns:
            (Ny, Nx, My, Mx, D).
        """
        (ny, my), (nx, mx) = y.rel.shape, x.rel.shape
        feature = (y.feature[:, None] * width + x.feature).flatten()
        row = torch.arange(ny, device=feature.device).repeat_interleave(nx)
        col = torch.arange(nx, device=feature.device).repeat(ny)
        out = self.start.new_empty(ny * nx, my, mx, self.num_out)
        for part in self._chunks(ny * nx, my * mx):
            out[part] = self._evaluate(feature[part], y.rel[row[part]], x.rel[col[part]])
        return out.view(ny, nx, my, mx, self.num_out)

    def _chunks(self, features: int, slots: int) -> list[slice]:
        dim = self.start.shape[-1]
        floats = 2 * slots * dim + (dim + 1) * dim * (len(self.weights) + 1)
        limit = memory.CPU_MLP_BYTES if self.start.device.type == "cpu" else memory.GPU_MLP_BYTES
        step = max(1, limit // self.start.element_size() // floats)
        return [slice(first, first + step) for first in range(0, features, step)]

    def _evaluate(self, feature: Tensor, rel_y: Tensor, rel_x: Tensor) -> Tensor:
        """Evaluate features (k,) at relative coordinates (k, My) and (k, Mx): (k, My, Mx, D)."""
        scale, shift = self.scale[feature], self.shift[feature]
        start = torch.addcmul(shift[:, 0], self.start[feature], scale[:, 0])
        # (k, 2, D), slope of the first layer
        slope = scale[:, 0, None] * self.coord_weight.T
        rows = start[:, None] + (rel_y[..., None] * slope[:, :1]).to(start.dtype)
        cols = (rel_x[..., None] * slope[:, 1:]).to(start.dtype)
        hidden = relu_((rows[:, :, None] + cols[:, None]).flatten(1, 2))
        spare = torch.empty_like(hidden)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            own_weight, own_bias = weight * scale[:, k, None], torch.addcmul(shift[:, k], bias, scale[:, k])
            torch.baddbmm(own_bias[:, None], hidden, own_weight, out=spare)
            hidden, spare = relu_(spare), hidden
        return self.last(hidden.flatten(0, 1)).view(*rel_y.shape, -1, self.num_out)


class Slots(NamedTuple):
    """The pixels that see N features along one axis; each feature has M slots, as many as the busiest one needs.

    feature: (N,) int64, ascending.
    rel: (N, M), relative coordinate of the pixel in a slot, see `corner_index`; 0 in an unused slot.
    place: (sides, R) int64, the slot of each pixel in each of its features, counted over all N * M.
    """

    feature: Tensor
    rel: Tensor
    place: Tensor


def sort_by_feature(index: np.ndarray, rel: np.ndarray, device: torch.device) -> Slots:
    """Group pixels by the features that they see.

    The counts determine shapes, so they are computed in NumPy: reading them back would wait for the device.

    Args:
        index: (sides, R) int64, the features that R pixels see.
        rel: (sides, R) float32, their relative coordinates.
        device: device of the result.
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
    return Slots(*(upload(array, device) for array in tensors))


def from_slots(values: Tensor, y: Slots, x: Slots) -> Tensor:
    """Bring values from the slots of features back to the pixels.

    Args:
        values: (Ny, Nx, My, Mx, D).

    Returns:
        (sides, sides, R, C, D).
    """
    ny, nx, my, mx, channels = values.shape
    values = values.transpose(1, 2).reshape(ny * my, nx * mx, channels)
    values = values.index_select(0, y.place.flatten()).index_select(1, x.place.flatten())
    return values.unflatten(0, y.place.shape).unflatten(2, x.place.shape).transpose(1, 2)
