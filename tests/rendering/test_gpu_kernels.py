"""The Triton kernels compute the same as plain indexing and means, also in LIIF's decoder.

On a CPU, Triton runs the kernels in its interpreter.
"""
from __future__ import annotations

import importlib

import pytest
import torch
from conftest import DEVICE

from liif_basicsr.archs.ensemble import EPS_AREA, ensemble_mean
from liif_basicsr.archs.liif_arch import LIIFDecoder
from liif_basicsr.rendering import gpu_kernels
from liif_basicsr.rendering.queries import PixelAxis, PixelGrid

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(DEVICE not in ("cpu", "cuda"), reason="Triton needs an NVIDIA GPU or a CPU")


@pytest.fixture
def kernels(device, monkeypatch):
    """The module `gpu_kernels`. On a CPU, Triton interprets its kernels."""
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
    grid[2, 1, 3] = torch.nan
    index_y, index_x = torch.randint(5, (sides, 7)), torch.randint(4, (sides, 3))
    term_y, term_x = torch.randn(sides, 7, dim), torch.randn(sides, 3, dim)
    found = kernels.gather_add_relu(grid, index_y, index_x, term_y, term_x)
    picked = grid[index_y[:, None, :, None], index_x[None, :, None]].float()
    expected = (picked + term_y[:, None, :, None] + term_x[None, :, None]).relu().flatten(0, 3)
    torch.testing.assert_close(found, expected.to(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 1e-6, atol=1e-6,
                               equal_nan=True)  # fmt: skip


@pytest.mark.parametrize("sides", [1, 2])
def test_ensemble(kernels, sides):
    torch.manual_seed(0)
    outputs, rel_y, rel_x = torch.randn(sides, sides, 7, 5, 3), torch.randn(sides, 7), torch.randn(sides, 5)
    found = kernels.ensemble_mean(outputs.flatten(0, 3), rel_y, rel_x, EPS_AREA)
    expected = ensemble_mean(outputs, rel_y[:, None, :, None], rel_x[None, :, None]).permute(2, 0, 1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("local_ensemble", [True, False])
def test_liif_decodes_the_same_image(kernels, local_ensemble):
    torch.manual_seed(0)
    decoder = LIIFDecoder(4, [16, 12], local_ensemble=local_ensemble)
    feat = torch.randn(1, 4, 5, 6)
    y, x = (PixelAxis(range(2, n - 1), n, m, 0, m, None, feat.device) for n, m in ((11, 5), (14, 6)))
    pixels = PixelGrid(y, x, block_pixels=40)
    with torch.no_grad():
        prepared = decoder.prepare(feat)
        found = decoder._decode_in_kernels(kernels, prepared[0].permute(1, 2, 0).contiguous(), pixels)
        for block, (rows, cols) in zip(found, pixels.blocks, strict=True):
            expected = decoder.query(prepared, pixels.queries(rows, cols))[0].T.view_as(block)
            torch.testing.assert_close(block, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(DEVICE != "cuda", reason="needs an NVIDIA GPU")
def test_the_kernels_are_used_on_a_gpu():
    assert gpu_kernels.can_launch(torch.ones(1))
