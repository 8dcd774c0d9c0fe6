"""Small MLPs, one for each feature of an image. Each is evaluated once for all pixels that use its feature."""
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
    """Inference-only MLPs of N features. They share their layers, but each feature scales and shifts the hidden units.

    Scales and shifts are folded into weights and biases, so that a layer is one matrix product per feature.

    Args:
        layers: the shared linear layers.
        coord_weight: (units, 2), the first layer's weights for the relative coordinate.
        start: (N, units), the first layer's output for each feature without the term of the relative coordinate.
        scale, shift: (N, layers, units), factor and offset for each unit of each hidden layer.
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
        """Evaluate the MLP of each feature for all pixels that use the feature.

        Args:
            y, x: output rows grouped by feature row, and output columns grouped by feature column.
            width: number of features per row of the image.

        Returns:
            (Ny, Nx, My, Mx, D), an output for each slot of each feature. Ny, My and Nx, Mx are the N and M of `y` and
            `x` in `Slots`.
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
        """Evaluate the MLPs of k features at relative coordinates (k, My) and (k, Mx); return (k, My, Mx, D)."""
        scale, shift = self.scale[feature], self.shift[feature]
        start = torch.addcmul(shift[:, 0], self.start[feature], scale[:, 0])
        # (k, 2, units), the first layer's weights for the relative coordinate, scaled
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
    """Output rows (or columns) grouped by the features that they use.

    N is the number of these features along the axis, and S the number of sides, see `Queries.corners`. Each feature has
    M slots for output rows, where M is the largest number of output rows that use the same feature.

    feature: (N,) int64, ascending indices of the features.
    rel: (N, M), coordinate of the row in each slot relative to the feature, see `corner_index`; 0 in an unused slot.
    slot: (S, R) int64, for each side and each of R output rows, the index of its slot among all N * M slots.
    """

    feature: Tensor
    rel: Tensor
    slot: Tensor


def sort_by_feature(index: np.ndarray, rel: np.ndarray, device: torch.device) -> Slots:
    """Group output rows (or columns) by the features that they use.

    Shapes of tensors depend on the number of rows per feature. This number is computed in NumPy, because reading it
    back from a GPU would wait for the work that is queued there.

    Args:
        index: (S, R) int64, the feature that each of R output rows uses on each of S sides.
        rel: (S, R) float32, the rows' coordinates relative to these features.
        device: device of the result.
    """
    pairs = index.ravel()
    feature, group, count = np.unique(pairs, return_inverse=True, return_counts=True)
    slots = int(count.max())
    order = np.argsort(group, kind="stable")
    within = np.arange(len(pairs)) - np.repeat(count.cumsum() - count, count)
    slot = np.empty_like(pairs)
    slot[order] = group[order] * slots + within
    sorted_rel = np.zeros(len(feature) * slots, rel.dtype)
    sorted_rel[slot] = rel.ravel()
    tensors = feature, sorted_rel.reshape(-1, slots), slot.reshape(index.shape)
    return Slots(*(upload(array, device) for array in tensors))


def from_slots(values: Tensor, y: Slots, x: Slots) -> Tensor:
    """Rearrange values from the slots of features to the output pixels.

    Args:
        values: (Ny, Nx, My, Mx, D), a value for each slot of each feature.
        y, x: the grouped output rows and columns.

    Returns:
        (S, S, R, C, D), a value for each ensemble corner of each output pixel; S is the number of sides.
    """
    ny, nx, my, mx, channels = values.shape
    values = values.transpose(1, 2).reshape(ny * my, nx * mx, channels)
    values = values.index_select(0, y.slot.flatten()).index_select(1, x.slot.flatten())
    return values.unflatten(0, y.slot.shape).unflatten(2, x.slot.shape).transpose(1, 2)
