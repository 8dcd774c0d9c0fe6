"""Every decoder keeps the contract: its fast path equals its own queries, in tiles, windows, dtypes and gradients."""
from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import blocks
from tiling import assert_tiling_is_exact

from liif_basicsr.archs import ARCHS, build_network
from liif_basicsr.archs.continuous_arch import ContinuousNetwork
from liif_basicsr.archs.decoders.base import Decoder
from liif_basicsr.archs.encoders import build_encoder
from liif_basicsr.rendering.coordinates import make_cell, make_coord
from liif_basicsr.rendering.tiles import Tile, Tiling, View, Window

ENCODER = {"type": "EDSR", "num_feat": 6, "num_block": 1}
# A small network of each architecture whose colours at coordinates are those that it renders.
NETWORKS = {
    "LIIF": {"hidden_dims": [16, 16]},
    "LMLIIF": {"latent_dims": [16], "render_dim": 8, "render_depth": 3},
    "LTE": {"hidden_dims": [16, 16], "num_freq": 8},
    "MetaSR": {"hidden_dim": 12},
    "ContinuousShuffleSR": {"num_feat": 16, "num_layer": 2, "num_basis": 3},
    "PixelShuffleSR": {"scale": 2},
    "FixedScaleSR": {"arch": {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 1, "upscale": 2}, "halo": 6},
}
SIZES = [(10, 14), (15, 21), (13, 31), (5, 7), (4, 3), (150, 210)]


class FirstChannels(Decoder):
    """What a newcomer writes: `forward` alone."""

    def forward(self, feat, coord, cell):
        grid = coord[:, None].flip(-1).to(feat.dtype)
        near = torch.nn.functional.grid_sample(feat, grid, align_corners=False, padding_mode="border")[:, :3, 0].mT
        return near / (1 + cell[..., :1] * feat.shape[-2]).to(feat.dtype)


def documented_network() -> ContinuousNetwork:
    """The example of a decoder in docs/architecture.md."""
    (example,) = [block for block in blocks("python") if "class BilinearSR" in block.text]
    names: dict[str, Any] = {}
    exec(compile(example.text, example.label, "exec"), names)
    return names["BilinearSR"](ENCODER)


def small_network(name: str, seed: int = 0) -> ContinuousNetwork:
    torch.manual_seed(seed)
    if name == "documented":
        return documented_network()
    if name == "forward alone":
        return ContinuousNetwork(build_encoder(ENCODER), FirstChannels(), "bilinear", 4)
    encoder = {} if "arch" in NETWORKS[name] else {"encoder": ENCODER}
    return build_network({"type": name, **encoder, **NETWORKS[name]})


each_decoder = pytest.mark.parametrize("name", [*NETWORKS, "forward alone", "documented"])


def test_each_architecture_is_held_to_the_contract():
    assert set(NETWORKS) == set(ARCHS)


@each_decoder
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_image_equals_its_queries(name, size):
    net, lq = small_network(name), torch.rand(2, 3, 5, 7)
    with torch.no_grad():
        queries = net(lq, make_coord(size).expand(2, -1, -1), make_cell(size).expand(2, 1, -1))
    torch.testing.assert_close(net.render(lq, size), queries.mT.unflatten(2, size), rtol=0, atol=3e-6)


@each_decoder
@settings(max_examples=15)
@given(data=st.data())
def test_decode_equals_the_default_that_is_built_on_queries(name, data):
    net = small_network(name)
    decoder, channels = net.decoder, net.encoder.out_channels
    h, w = data.draw(st.integers(6, 12)), data.draw(st.integers(6, 12))
    size = data.draw(st.integers(h, 40)), data.draw(st.integers(w, 40))
    # The tile leaves out two features on each side, and the window what would need them.
    prepared = decoder.prepare(torch.randn(1, channels, h, w))[:, :, 2:-2, 2:-2].contiguous()
    first = [-(-4 * n_out // n_in) for n_out, n_in in zip(size, (h, w), strict=True)]
    last = [n_out - f for n_out, f in zip(size, first, strict=True)]
    if any(stop <= start for start, stop in zip(first, last, strict=True)):
        return
    window = Window(first[0], first[1], last[0] - first[0], last[1] - first[1])
    view = View(Tile((h, w), (2, 2)), size, window, torch.get_default_device())
    part = slice(0, window.height), slice(0, window.width)
    with torch.no_grad():
        fast, plain = decoder.decode(prepared, view)(*part), Decoder.decode(decoder, prepared, view)(*part)
    torch.testing.assert_close(fast, plain, rtol=0, atol=2e-5)


@each_decoder
@settings(max_examples=20)
@given(data=st.data(), tile=st.integers(3, 12), block=st.integers(1, 40))
def test_tiles_blocks_and_windows_are_exact(name, data, tile, block):
    assert_tiling_is_exact(small_network(name), data, tile, block)


@each_decoder
@settings(max_examples=15)
@given(h=st.integers(1, 40), w=st.integers(1, 40), per_query=st.booleans(), seed=st.integers(0, 2**31))
def test_samples_equal_queries(name, h, w, per_query, seed):
    net = small_network(name)
    torch.manual_seed(seed)
    lq, coord = torch.rand(2, 3, h, w), torch.rand(2, 50, 2) * 2 - 1
    cell = torch.rand(2, 50 if per_query else 1, 2) * 2 / max(h, w)
    with torch.no_grad():
        torch.testing.assert_close(net.sample(lq, coord, cell), net(lq, coord, cell), rtol=0, atol=1e-5)


@each_decoder
def test_samples_in_several_tiles_equal_queries(name, monkeypatch):
    monkeypatch.setattr("liif_basicsr.rendering.encoded_image.QUERIES", 17)
    net, lq, coord = small_network(name), torch.rand(1, 3, 37, 29), torch.rand(1, 400, 2) * 2.4 - 1.2
    net.tiling = Tiling(tile=11)
    cell = torch.rand(1, 400, 2) * 0.1
    inside = (coord.abs() <= 1).all(-1)
    with torch.no_grad():
        samples, mask = net.sample(lq, coord, cell, fill=7.0, return_mask=True)
        queries = net(lq, coord.clamp(-1, 1), cell)
    assert torch.equal(mask, inside)
    torch.testing.assert_close(samples[inside], queries[inside], rtol=0, atol=2e-5)
    assert (samples[~inside] == 7).all() and (~inside).any()


@each_decoder
@pytest.mark.parametrize("dtype, atol", [(torch.bfloat16, 4e-2), (torch.float64, 1e-5)], ids=str)
def test_other_precisions_are_close(name, dtype, atol):
    net, lq, size = small_network(name), torch.rand(1, 3, 9, 8), (23, 31)
    expected = net.render(lq, size)
    if dtype == torch.float64:
        output = net.double().render(lq.double(), size)
    else:
        with torch.autocast(torch.get_default_device().type, dtype):
            output = net.render(lq, size)
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=atol)


@each_decoder
def test_an_encoded_image_serves_every_precision(name):
    net, lq = small_network(name), torch.rand(1, 3, 9, 8)
    encoded = net.encode_image(lq)
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        half = encoded.render((20, 17))
    whole = encoded.render((20, 17))
    torch.testing.assert_close(whole, net.render(lq, (20, 17)), rtol=0, atol=3e-6)
    torch.testing.assert_close(half, whole, rtol=0, atol=4e-2)


@each_decoder
def test_gradients_reach_every_parameter_and_equal_those_in_float64(name):
    gradients = []
    for dtype in (torch.float32, torch.float64):
        net = small_network(name).to(dtype)
        torch.manual_seed(1)
        lq = torch.rand(2, 3, 6, 5).to(dtype).requires_grad_()
        coord, cell = torch.rand(2, 40, 2) * 2 - 1, torch.rand(2, 1, 2) * 0.4
        (net(lq, coord, cell) * torch.randn(2, 40, 3)).sum().backward()
        gradients.append([lq.grad, *(param.grad for param in net.parameters())])
    for single, double in zip(*gradients, strict=True):
        assert single.abs().sum() > 0
        torch.testing.assert_close(single, double.float(), rtol=2e-3, atol=2e-4)


@each_decoder
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("skip", [None, "bilinear"])
def test_features_that_are_not_numbers_are_seen_in_the_image(name, precision, skip):
    net = small_network(name)
    net.input_skip = skip
    with torch.no_grad():
        list(net.encoder.parameters())[-1][:] = torch.nan
    with torch.autocast(torch.get_default_device().type, precision, enabled=precision != torch.float32):
        assert net.render(torch.rand(1, 3, 6, 6), (12, 12)).isnan().all()


@each_decoder
def test_numpy_integers_are_sizes(name):
    import numpy as np

    net, lq = small_network(name), torch.rand(1, 3, 4, 5)
    size, window = np.array([9, 11]), np.array([1, 2, 3, 4])
    torch.testing.assert_close(net.render(lq, size, window), net.render(lq, (9, 11), (1, 2, 3, 4)))


@each_decoder
def test_without_coordinates_it_enlarges_by_its_scale(name):
    net, lq = small_network(name), torch.rand(1, 3, 6, 5)
    if name != "PixelShuffleSR":  # whose scale is that of its layers
        net.scale = 2.5
    size = (round(6 * net.scale), round(5 * net.scale))
    torch.testing.assert_close(net(lq), net.render(lq, size), rtol=0, atol=3e-6)


@each_decoder
def test_in_evaluation_mode_no_graph_is_kept_unless_the_input_asks(name):
    net, lq = small_network(name).eval(), torch.rand(1, 3, 4, 5)
    assert not net(lq).requires_grad
    assert net(lq.clone().requires_grad_()).requires_grad
    assert net.train()(lq).requires_grad


@each_decoder
def test_tiling_is_an_argument(name):
    net, lq = small_network(name), torch.rand(1, 3, 20, 20)
    whole = net.render(lq, (50, 50))
    net.tiling = Tiling(tile=7, block_bytes=4000)
    torch.testing.assert_close(net.render(lq, (50, 50)), whole, rtol=0, atol=3e-6)
