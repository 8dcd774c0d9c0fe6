"""Small MLPs, one for each feature of an image, that the coordinates around it pass through together."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from liif_basicsr.rendering.fused_mlp import fused_mlp, relu_
from liif_basicsr.rendering.slots import Slots

# What the MLPs that are evaluated at a time may take: it stays in a processor's cache. A GPU is filled instead.
CHUNK_BYTES, GPU_CHUNK_BYTES = 4 << 20, 256 << 20


class FeatureMLPs:
    """MLPs of N features without gradients: of the same layers, each with scales and shifts of the hidden units.

    Scales and shifts join weights and biases, so that a layer is one product of matrices for each feature.

    Args:
        layers: the layers that the MLPs share.
        coord_weight: the first layer's weights of the relative coordinate, (D, 2).
        start: the rest of that layer, (N, D).
        scale, shift: what each hidden layer's units are multiplied by, and what is then added, (N, layers, D).
    """

    def __init__(
        self, layers: Sequence[nn.Linear], coord_weight: Tensor, start: Tensor, scale: Tensor, shift: Tensor
    ) -> None:
        self.start, self.scale, self.shift = start, scale, shift
        self.coord_weight = coord_weight.detach()
        self.weights = [layer.weight.detach().T.to(start.dtype) for layer in layers[1:-1]]
        self.biases = [layer.bias.detach().to(start.dtype) for layer in layers[1:-1]]
        self.last = fused_mlp(layers[-1:], start, relu_first=False)

    def __call__(self, y: Slots, x: Slots, width: int) -> Tensor:
        """Evaluate.

        Args:
            y, x: the coordinates that rows and columns of features are seen from.
            width: features in a row.

        Returns:
            (Ny, Nx, My, Mx, 3).
        """
        (ny, my), (nx, mx) = y.rel.shape, x.rel.shape
        feature = (y.feature[:, None] * width + x.feature).flatten()
        row = torch.arange(ny, device=feature.device).repeat_interleave(nx)
        col = torch.arange(nx, device=feature.device).repeat(ny)
        out = self.start.new_empty(ny * nx, my, mx, 3)
        for part in self._chunks(ny * nx, my * mx):
            out[part] = self._evaluate(feature[part], y.rel[row[part]], x.rel[col[part]])
        return out.view(ny, nx, my, mx, 3)

    def _chunks(self, features: int, slots: int) -> list[slice]:
        dim = self.start.shape[-1]
        floats = 2 * slots * dim + (dim + 1) * dim * (len(self.weights) + 1)
        size = (CHUNK_BYTES if self.start.device.type == "cpu" else GPU_CHUNK_BYTES) // self.start.element_size()
        step = max(1, size // floats)
        return [slice(first, first + step) for first in range(0, features, step)]

    def _evaluate(self, feature: Tensor, rel_y: Tensor, rel_x: Tensor) -> Tensor:
        """Some features (k,) at their coordinates (k, My) and (k, Mx): (k, My, Mx, 3)."""
        scale, shift = self.scale[feature], self.shift[feature]
        start = torch.addcmul(shift[:, 0], self.start[feature], scale[:, 0])
        # (k, 2, D): how steep the first layer is.
        slope = scale[:, 0, None] * self.coord_weight.T
        rows = start[:, None] + (rel_y[..., None] * slope[:, :1]).to(start.dtype)
        cols = (rel_x[..., None] * slope[:, 1:]).to(start.dtype)
        hidden = relu_((rows[:, :, None] + cols[:, None]).flatten(1, 2))
        spare = torch.empty_like(hidden)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            own_weight, own_bias = weight * scale[:, k, None], torch.addcmul(shift[:, k], bias, scale[:, k])
            torch.baddbmm(own_bias[:, None], hidden, own_weight, out=spare)
            hidden, spare = relu_(spare), hidden
        return self.last(hidden.flatten(0, 1)).view(*rel_y.shape, -1, 3)
