"""The Triton kernels equal plain indexing and means: on a GPU, and in Triton's interpreter on a CPU."""
from __future__ import annotations

import importlib

import pytest
import torch
from conftest import DEVICE

from liif_basicsr.archs.ensemble import EPS_AREA, ensemble_mean
from liif_basicsr.rendering import gpu_kernels

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(DEVICE not in ("cpu", "cuda"), reason="Triton needs an NVIDIA GPU or a CPU")


@pytest.fixture
def kernels(device, monkeypatch):
    """The module, on a CPU with its kernels interpreted."""
    if device.type == "cuda":
        yield gpu_kernels
        return
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    yield importlib.reload(gpu_kernels)
    monkeypatch.undo()
    importlib.reload(gpu_kernels)


@pytest.mark.parametrize(("sides", "dim", "dtype"), [
    (2, 16, torch.float32), (1, 12, torch.float32), (2, 16, torch.bfloat16),
], ids=str)  # fmt: skip
def test_first_layer(kernels, sides, dim, dtype):
    torch.manual_seed(0)
    grid = torch.randn(5, 4, dim, dtype=dtype)
    index_y, index_x = torch.randint(5, (sides, 7)), torch.randint(4, (sides, 3))
    term_y, term_x = torch.randn(sides, 7, dim), torch.randn(sides, 3, dim)
    found = kernels.gather_add_relu(grid, index_y, index_x, term_y, term_x)
    picked = grid[index_y[:, None, :, None], index_x[None, :, None]].float()
    expected = (picked + term_y[:, None, :, None] + term_x[None, :, None]).relu().flatten(0, 3)
    torch.testing.assert_close(found, expected.to(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 1e-6, atol=1e-6)


@pytest.mark.parametrize("sides", [1, 2])
def test_ensemble(kernels, sides):
    torch.manual_seed(0)
    outputs, rel_y, rel_x = torch.randn(sides, sides, 7, 5, 3), torch.randn(sides, 7), torch.randn(sides, 5)
    found = kernels.ensemble_mean(outputs.flatten(0, 3), rel_y, rel_x, EPS_AREA)
    expected = ensemble_mean(outputs, rel_y[:, None, :, None], rel_x[None, :, None]).permute(2, 0, 1)
    torch.testing.assert_close(found, expected)


@pytest.mark.skipif(DEVICE != "cuda", reason="needs an NVIDIA GPU")
def test_the_kernels_are_used_on_a_gpu():
    assert gpu_kernels.can_launch(torch.ones(1))
