"""ContinuousShuffleSR compared with a plain float64 implementation and a discrete pixel shuffle."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from liif_basicsr.archs.continuous_shuffle_arch import ContinuousShuffleDecoder, ContinuousShuffleSR
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.coordinates import make_cell, make_coord


def small_decoder(num_basis: int = 3) -> ContinuousShuffleDecoder:
    torch.manual_seed(0)
    return ContinuousShuffleDecoder(5, num_feat=7, num_layer=2, num_basis=num_basis, basis_dim=6).double()


def plain_basis(basis, rel, rel_cell):
    """Return the values (R,) of the functions for one relative coordinate and cell."""
    x = np.array([rel, rel_cell])
    for k, layer in enumerate(basis.layers):
        x = layer.weight.numpy(force=True) @ x + layer.bias.numpy(force=True)
        if k < 2:
            x = np.array([v / 2 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    return x


def plain_color(decoder, coefficients, point, cell):
    """Return the color (3,) at `point` (y, x): the four features' bilinear forms, interpolated bilinearly."""
    (h, w), r = coefficients.shape[1:], decoder.num_basis
    y, x = ((p + 1) / 2 * n - 0.5 for p, n in zip(point, (h, w), strict=True))
    color = np.zeros(3)
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            form = coefficients[:, min(max(i, 0), h - 1), min(max(j, 0), w - 1)].reshape(r, 3, r)
            along_y = plain_basis(decoder.basis_y, 2 * (y - i), cell[0] * h)
            along_x = plain_basis(decoder.basis_x, 2 * (x - j), cell[1] * w)
            share = (1 - abs(y - i)) * (1 - abs(x - j))
            color += share * np.einsum("a,acb,b->c", along_y, form, along_x)
    return color


@settings(max_examples=20)
@given(h=st.integers(1, 6), w=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_outputs_equal_the_plain_form(h, w, seed):
    decoder = small_decoder()
    torch.manual_seed(seed)
    feat = torch.randn(2, 5, h, w, dtype=torch.float64)
    coord, cell = torch.rand(2, 4, 2, dtype=torch.float64) * 2 - 1, torch.rand(2, 4, 2, dtype=torch.float64)
    with torch.no_grad():
        output, coefficients = decoder(feat, coord, cell).numpy(force=True), decoder.prepare(feat).numpy(force=True)
    for b in range(2):
        for q in range(4):
            plain = plain_color(decoder, coefficients[b], coord[b, q].numpy(force=True), cell[b, q].numpy(force=True))
            np.testing.assert_allclose(output[b, q], plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_integer_scales_equal_convolution_and_pixel_shuffle(scale):
    decoder, r = small_decoder().float(), 3
    feat = torch.randn(1, 5, 6, 4)
    size = (6 * scale, 4 * scale)
    with torch.no_grad():
        # Along an axis, a pixel uses the feature that contains it and one of this feature's two neighbors.
        kernels = []
        for basis in (decoder.basis_y, decoder.basis_x):
            kernel = torch.zeros(scale, 3, r)
            for phase in range(scale):
                offset = (phase + 0.5) / scale - 0.5
                lower = math.floor(offset)
                kernel[phase, lower + 1 : lower + 3] = basis(torch.tensor(offset - lower), torch.tensor(2 / scale))
            kernels.append(kernel)
        weight = torch.einsum("pkr,qls,cd->cpqrdskl", *kernels, torch.eye(3))
        weight = weight.reshape(3 * scale**2, r * 3 * r, 3, 3)
        coefficients = F.pad(decoder.prepare(feat), (1, 1, 1, 1), mode="replicate")
        shuffled = F.pixel_shuffle(F.conv2d(coefficients, weight), scale)
        queries = decoder(feat, make_coord(size)[None], make_cell(size)[None, None])
    torch.testing.assert_close(queries.mT.unflatten(2, size), shuffled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_coefficients_equal_plain_convolutions(dtype, monkeypatch):
    monkeypatch.setattr(memory, "BODY_FEATURES", 7)  # the last part is smaller
    decoder, feat = small_decoder().float(), torch.randn(2, 5, 4, 6)
    with torch.autocast(feat.device.type, dtype, enabled=dtype != torch.float32):
        x = decoder.conv_first(feat)
        for layer in decoder.body:
            x = x + layer(F.relu(x))
        expected = decoder.conv_last(F.relu(x))
        with torch.no_grad():
            fused = decoder.prepare(feat)
        plain = decoder.prepare(feat)
    assert plain.requires_grad and plain.dtype == fused.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float32 else 2e-2
    for output in (plain, fused):
        torch.testing.assert_close(output, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_nan_spreads_to_adjacent_coefficients(precision):
    decoder, feat = small_decoder().float(), torch.randn(1, 5, 4, 6)
    feat[0, 2, 1, 3] = torch.nan
    with torch.no_grad(), torch.autocast(feat.device.type, precision, enabled=precision != torch.float32):
        found = decoder.prepare(feat)[0].isnan()
    near = torch.zeros(4, 6, dtype=torch.bool)
    near[:3, 2:5] = True
    assert torch.equal(found, near.expand_as(found))


def test_basis_stays_in_float32_under_autocast():
    basis = small_decoder().float().basis_y
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        half = basis(torch.rand(5), torch.rand(5))
    assert half.dtype == torch.float32


@pytest.mark.parametrize("size", [(9, 7), (2, 12), (1, 1)], ids=str)
def test_border_is_a_reflection(size):
    torch.manual_seed(0)
    net, lq = ContinuousShuffleSR({"type": "EDSR", "num_feat": 4, "num_block": 1}, 8, border=3), torch.rand(2, 3, *size)
    y, x = (min(3, n - 1) for n in size)
    whole = np.pad(lq.numpy(), ((0, 0), (0, 0), (y, y), (x, x)), mode="reflect")
    with torch.no_grad():
        found, expected = net.encode_and_prepare(lq), net.decoder.prepare(net.encode(torch.from_numpy(whole)))
    assert found.shape[2:] == size
    torch.testing.assert_close(found, expected[..., y : y + size[0], x : x + size[1]], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["num_feat", "num_layer", "num_basis", "basis_dim", "border"])
def test_widths_below_1(name):
    with pytest.raises(LIIFError, match=f"network_g: {name}: expected an integer from 1 to 10000, got 0"):
        ContinuousShuffleSR({"type": "EDSR", "num_feat": 4, "num_block": 1}, **{name: 0})


def test_gradcheck():
    decoder = small_decoder(num_basis=2)
    feat = torch.randn(1, 5, 2, 3, dtype=torch.float64, requires_grad=True)
    coord, cell = torch.rand(1, 3, 2).double() * 2 - 1, torch.rand(1, 3, 2).double()
    assert torch.autograd.gradcheck(lambda feat: decoder(feat, coord, cell), (feat,))
