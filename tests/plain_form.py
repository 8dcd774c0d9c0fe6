"""Compare a decoder with a plain NumPy implementation: outputs directly, gradients by central differences."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

# Maps features (C, h, w), points (Q, 2) and cells (Q, 2) to colors (Q, 3), with the decoder's current parameters.
Plain = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def pointwise(plain: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Plain:
    """Turn a function that returns the color (3,) of one point (2,) and cell (2,) into a `Plain` of many points."""

    def colors(feat: np.ndarray, points: np.ndarray, cells: np.ndarray) -> np.ndarray:
        return np.stack([plain(feat, point, cell) for point, cell in zip(points, cells, strict=True)])

    return colors


def arrays(module: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Return a layer's weight, flattened to (D, inputs), and its bias. Both arrays share the layer's memory."""
    return module.weight.detach().flatten(1).numpy(force=True), module.bias.numpy(force=True)


def assert_outputs_equal(decoder: torch.nn.Module, plain: Plain, size: tuple[int, int], seed: int) -> None:
    """Compare outputs for two random images of `size` (h, w), with a cell per query and with one shared cell."""
    torch.manual_seed(seed)
    feat, coord = torch.randn(2, 3, *size).double(), torch.rand(2, 5, 2).double() * 2 - 1
    for cell in (torch.rand(2, 5, 2).double(), torch.rand(2, 1, 2).double()):
        output, cells = decoder(feat, coord, cell).numpy(force=True), cell.expand(2, 5, 2)
        for k in range(2):
            expected = plain(*(x[k].numpy(force=True) for x in (feat, coord, cells)))
            np.testing.assert_allclose(output[k], expected, rtol=1e-9, atol=1e-9)


def assert_gradients_equal(decoder: torch.nn.Module, plain: Plain) -> None:
    """Compare the gradients with respect to a few entries of the features and of each parameter."""
    torch.manual_seed(0)
    feat = torch.randn(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    coord, direction = torch.rand(6, 2).double() * 2 - 1, torch.randn(6, 3).double()
    for cell in (torch.rand(6, 2).double(), torch.rand(1, 2).double().expand(6, 2)):
        feat.grad = None
        decoder.zero_grad()
        (decoder(feat, coord[None], cell[None]) * direction).sum().backward()

        def loss(cell: torch.Tensor = cell) -> float:
            colors = plain(*(x.numpy(force=True) for x in (feat[0], coord, cell)))
            return float((colors * direction.numpy(force=True)).sum())

        for tensor in (feat, *decoder.parameters()):
            numbers, grad, step = tensor.data.view(-1), tensor.grad.view(-1), 1e-6
            for k in np.random.default_rng(0).choice(len(numbers), min(4, len(numbers)), replace=False):
                numbers[k] += step
                above = loss()
                numbers[k] -= 2 * step
                below = loss()
                numbers[k] += step
                assert grad[k].item() == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-7)
