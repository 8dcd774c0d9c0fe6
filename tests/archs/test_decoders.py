"""The contract of all decoders: `decode` equals `query` in tiles, in windows and in every precision."""
from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from conftest import DEVICE
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import blocks
from tiling import assert_tiling_is_exact

from liif_basicsr.archs import build_network, list_archs
from liif_basicsr.archs.base import ContinuousNetwork, Decoder
from liif_basicsr.archs.encoders import build_encoder
from liif_basicsr.archs.registry import ARCHS
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.coordinates import make_cell, make_coord
from liif_basicsr.rendering.memory import Tiling
from liif_basicsr.rendering.queries import PixelAxis, PixelGrid

ENCODER = {"type": "EDSR", "num_feat": 6, "num_block": 1}
# A small network of each architecture.
NETWORKS = {
    "LIIF": {"hidden_dims": [16, 16]},
    "LMLIIF": {"latent_dims": [16], "render_dim": 8, "render_depth": 3},
    "LTE": {"hidden_dims": [16, 16], "num_freq": 8},
    "MetaSR": {"hidden_dim": 12},
    "SRNO": {"width": 12, "num_heads": 3, "hidden_dim": 16},
    "Thera": {"num_freq": 8, "tail": {"type": "ConvNeXt", "dims": [6, 8]}},
    "ContinuousShuffleSR": {"num_feat": 16, "num_layer": 2, "num_basis": 3, "border": 2},
    "PixelShuffleSR": {"scale": 2},
    "FixedScaleSR": {"arch": {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 1, "upscale": 2}, "halo": 6},
}
SIZES = [(10, 14), (15, 21), (13, 31), (5, 7), (4, 3), (150, 210)]


class FirstChannels(Decoder):
    """A minimal decoder that only implements `query`."""

    def query(self, prepared, queries):
        grid = queries.grid().to(prepared.dtype)
        near = torch.nn.functional.grid_sample(prepared, grid, align_corners=False, padding_mode="border")[:, :3, 0].mT
        return near / (1 + queries.rel_cell[..., :1]).to(prepared.dtype)


def documented_network() -> ContinuousNetwork:
    """Build the example decoder of docs/architecture.md."""
    (example,) = [block for block in blocks("python") if "class BilinearSR" in block.text]
    names: dict[str, Any] = {}
    known = dict(ARCHS)
    exec(compile(example.text, example.label, "exec"), names)
    ARCHS.clear()  # the example registers its network
    ARCHS.update(known)
    return names["BilinearSR"](ENCODER)


def small_network(name: str, seed: int = 0) -> ContinuousNetwork:
    torch.manual_seed(seed)
    if name == "documented":
        return documented_network()
    if name == "query alone":
        return ContinuousNetwork(build_encoder(ENCODER), FirstChannels(), input_skip="bilinear")
    encoder = {} if "arch" in NETWORKS[name] else {"encoder": ENCODER}
    return build_network({"type": name, **encoder, **NETWORKS[name]})


each_decoder = pytest.mark.parametrize("name", [*NETWORKS, "query alone", "documented"])


def test_every_architecture_is_covered():
    assert set(NETWORKS) == set(list_archs())


@each_decoder
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_image_equals_queries(name, size):
    net, lq = small_network(name), torch.rand(2, 3, 5, 7)
    with torch.no_grad():
        queries = net(lq, make_coord(size).expand(2, -1, -1), make_cell(size).expand(2, 1, -1))
    torch.testing.assert_close(net.render(lq, size), queries.mT.unflatten(2, size), rtol=1e-6, atol=3e-6)


@each_decoder
@settings(max_examples=15)
@given(data=st.data())
def test_decode_equals_queries(name, data):
    net = small_network(name)
    decoder, channels = net.decoder, net.encoder.out_channels
    h, w = data.draw(st.integers(6, 12)), data.draw(st.integers(6, 12))
    size = data.draw(st.integers(h, 40)), data.draw(st.integers(w, 40))
    # Leave out two features on each side of the tile, and the pixels that depend on these features.
    prepared = decoder.prepare(torch.randn(1, channels, h, w))[:, :, 2:-2, 2:-2].contiguous()
    first = [-(-4 * n_out // n_in) for n_out, n_in in zip(size, (h, w), strict=True)]
    last = [n_out - f for n_out, f in zip(size, first, strict=True)]
    if any(stop <= start for start, stop in zip(first, last, strict=True)):
        return
    device = torch.get_default_device()
    y, x = (
        PixelAxis(range(first[k], last[k]), size[k], n, 2, n - 4, decoder.max_scale, device)
        for k, n in enumerate((h, w))
    )
    pixels = PixelGrid(y, x, data.draw(st.integers(20, 2000)))
    with torch.no_grad():
        plain_blocks = Decoder.decode(decoder, prepared, pixels)
        for fast, plain in zip(decoder.decode(prepared, pixels), plain_blocks, strict=True):
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
    monkeypatch.setattr("liif_basicsr.rendering.memory.SAMPLE_QUERIES", 17)
    net, lq, coord = small_network(name), torch.rand(1, 3, 37, 29), torch.rand(1, 400, 2) * 2.4 - 1.2
    net.tiling = Tiling(tile=11)
    cell = torch.rand(1, 400, 2) * 0.1
    inside = (coord.abs() <= 1).all(-1)
    with torch.no_grad():
        samples, mask = net.sample(lq, coord, cell, fill=7.0, return_mask=True)
        queries = net(lq, coord[inside][None], cell[inside][None])
    assert torch.equal(mask, inside)
    torch.testing.assert_close(samples[inside], queries[0], rtol=0, atol=2e-5)
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
def test_encoded_image_renders_in_every_precision(name):
    net, lq = small_network(name), torch.rand(1, 3, 9, 8)
    encoded = net.encode_image(lq)
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        half = encoded.render((20, 17))
    whole = encoded.render((20, 17))
    torch.testing.assert_close(whole, net.render(lq, (20, 17)), rtol=0, atol=3e-6)
    torch.testing.assert_close(half, whole, rtol=0, atol=4e-2)


@each_decoder
def test_gradients_equal_float64(name):
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
def test_nan_features_are_visible(name, precision, skip):
    net = small_network(name)
    net.input_skip = skip
    with torch.no_grad():
        list(net.encoder.parameters())[-1][:] = torch.nan
    with torch.autocast(torch.get_default_device().type, precision, enabled=precision != torch.float32):
        assert net.render(torch.rand(1, 3, 6, 6), (12, 12)).isnan().all()


@each_decoder
def test_numpy_integers_as_sizes(name):
    import numpy as np

    net, lq = small_network(name), torch.rand(1, 3, 4, 5)
    size, window = np.array([9, 11]), np.array([1, 2, 3, 4])
    torch.testing.assert_close(net.render(lq, size, window), net.render(lq, (9, 11), (1, 2, 3, 4)))


@each_decoder
def test_default_scale(name):
    net, lq = small_network(name), torch.rand(1, 3, 6, 5)
    if name != "PixelShuffleSR":  # its layers fix its scale
        net.scale = 2.5
    size = (round(6 * net.scale), round(5 * net.scale))
    torch.testing.assert_close(net(lq), net.render(lq, size), rtol=0, atol=3e-6)


@each_decoder
def test_no_graph_in_evaluation_mode_unless_the_input_requires_a_gradient(name):
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


def eager_without_mkldnn(graph, inputs):
    """Run graphs eagerly, and fail if one contains an mkldnn operator.

    Inductor, the default backend, fails at mkldnn operators whose weight is not a constant.
    """
    found = [str(node.target) for node in graph.graph.nodes if "mkldnn" in str(node.target)]
    assert not found, found
    return graph.forward


@pytest.mark.skipif(DEVICE == "fakegpu", reason="torch.compile does not trace the simulated device")
@each_decoder
def test_compiled_and_exported_networks_equal_eager_ones(name):
    """A default device is set, because torch.compile traces it as a mode around every function."""
    net, lq = small_network(name).eval(), torch.rand(1, 3, 6, 7)
    coord, cell = torch.rand(1, 9, 2) * 2 - 1, torch.full((1, 1, 2), 0.1)
    # Fixed-scale networks read the largest cell back from the device, which splits the graph.
    whole = name not in ("PixelShuffleSR", "FixedScaleSR")
    query = torch.compile(net.query, fullgraph=whole, backend=eager_without_mkldnn)
    with torch.no_grad(), torch.get_default_device():
        torch.testing.assert_close(query(lq, coord, cell), net(lq, coord, cell), rtol=0, atol=1e-5)
        torch.testing.assert_close(torch.compile(net, backend=eager_without_mkldnn)(lq), net(lq), rtol=0, atol=1e-5)
        if whole:
            exported = torch.export.export(net, (lq, coord, cell), strict=False).module()
            torch.testing.assert_close(exported(lq, coord, cell), net(lq, coord, cell), rtol=0, atol=1e-5)
    torch.compiler.reset()


@pytest.mark.skipif(DEVICE == "fakegpu", reason="torch.compile does not trace the simulated device")
def test_renders_use_a_compiled_encoder():
    net, lq, graphs = small_network("LIIF").eval(), torch.rand(1, 3, 6, 7), []
    expected = net.render(lq, (13, 15))

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    net.encoder.compile(backend=backend)
    torch.testing.assert_close(net.render(lq, (13, 15)), expected, rtol=0, atol=3e-6)
    assert len(graphs) == 1
    torch.compiler.reset()


@pytest.mark.skipif(DEVICE == "fakegpu", reason="torch.compile does not trace the simulated device")
def test_compiled_functions_render_encoded_images_eagerly():
    net, lq, graphs = small_network("LIIF").eval(), torch.rand(1, 3, 6, 7), []
    coord, cell = torch.rand(1, 9, 2) * 2 - 1, torch.full((1, 9, 2), 0.1)
    image = net.encode_image(lq)

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    rendered, sampled = torch.compile(lambda: (image.render((13, 15)), image.sample(coord, cell)), backend=backend)()
    torch.testing.assert_close(rendered, net.render(lq, (13, 15)), rtol=0, atol=3e-6)
    torch.testing.assert_close(sampled, net.sample(lq, coord, cell), rtol=0, atol=3e-6)
    assert not graphs
    torch.compiler.reset()


@each_decoder
def test_outputs_are_contiguous_with_gradients(name):
    net, lq = small_network(name).train(), torch.rand(2, 3, 5, 6)
    assert net(lq).is_contiguous()
    assert net(lq, torch.rand(2, 30, 2), torch.rand(2, 1, 2)).is_contiguous()


@each_decoder
def test_copies_are_independent(name):
    net, lq = small_network(name).eval(), torch.rand(1, 3, 5, 6)
    before, copied = net.render(lq, (9, 11)), copy.deepcopy(net)
    with torch.no_grad():
        for param in net.parameters():
            param.zero_()
    torch.testing.assert_close(copied.render(lq, (9, 11)), before)


@each_decoder
def test_half_precision_weights(name):
    net, lq = small_network(name), torch.rand(1, 3, 5, 6)
    coord, cell = torch.rand(1, 9, 2) * 2 - 1, torch.full((1, 9, 2), 0.1)
    with torch.no_grad():
        expected = net(lq, coord, cell)
        found = net.bfloat16()(lq.bfloat16(), coord, cell)
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=6e-2)


@pytest.mark.parametrize("shapes, message", [
    (((2, 3, 4, 5), (1, 7, 2), (1, 1, 2)), r"coord: expected shape \(2, Q, 2\), got \(1, 7, 2\)"),
    (((1, 3, 4, 5), (2, 7, 2), (2, 1, 2)), r"coord: expected shape \(1, Q, 2\), got \(2, 7, 2\)"),
    (((1, 3, 4, 5), (7, 2), (1, 1, 2)), "coord: expected shape"),
    (((1, 3, 4, 5), (1, 7, 3), (1, 1, 2)), "coord: expected shape"),
    (((1, 3, 4, 5), (1, 7, 2), (1, 3, 2)), r"cell: expected shape \(1, 7, 2\) or \(1, 1, 2\), got \(1, 3, 2\)"),
    (((2, 3, 4, 5), (2, 7, 2), (1, 1, 2)), "cell: expected shape"),
    (((1, 3, 4, 5), (1, 7, 2), (1, 2)), "cell: expected shape"),
    (((1, 3, 4, 5), (1, 7, 2), None), "cell: missing"),
])  # fmt: skip
def test_invalid_query_shapes(shapes, message):
    net = small_network("LIIF")
    arguments = [shape and torch.zeros(shape) for shape in shapes]
    for use in (net, net.sample) if arguments[2] is not None else (net,):
        with pytest.raises(LIIFError, match=message):
            use(*arguments)


@pytest.mark.parametrize("name", ["coord", "cell"])
def test_nan_coordinates(name):
    net, queries = small_network("LIIF"), {"coord": torch.zeros(1, 3, 2), "cell": torch.ones(1, 3, 2)}
    queries[name][0, 1, 0] = torch.nan
    if queries[name].device.type != "cpu":  # NaN is not checked there, because that would wait for the device
        output = net(torch.rand(1, 3, 4, 5), **queries)
        assert output.isnan().all(-1).tolist() == [[False, True, False]]
        return
    for use in (net, net.sample):
        with pytest.raises(LIIFError, match=f"{name}: contains NaN; all values must be numbers"):
            use(torch.rand(1, 3, 4, 5), **queries)


@pytest.mark.parametrize("lq, message", [
    (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), "lq: expected floats in .0, 1., got torch.uint8; convert it"),
    (torch.zeros(1, 3, 0, 5), r"lq: expected shape \(B, 3, h, w\), got \(1, 3, 0, 5\)"),
    (torch.zeros(0, 3, 4, 5), r"lq: expected shape \(B, 3, h, w\), got \(0, 3, 4, 5\)"),
], ids=["uint8", "no rows", "no images"])  # fmt: skip
def test_images_that_networks_refuse(lq, message):
    net, coord = small_network("LIIF"), torch.zeros(len(lq), 3, 2)
    cell = torch.ones(len(lq), 1, 2)
    calls = (net, lambda lq: net(lq, coord, cell), lambda lq: net.render(lq, (8, 10)), net.encode_image,
             lambda lq: net.sample(lq, coord, cell))  # fmt: skip
    for call in calls:
        with pytest.raises(LIIFError, match=message):
            call(lq)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "FixedScaleSR"])
def test_any_number_of_channels(name, channels):
    options = {"type": name, "encoder": ENCODER, **NETWORKS[name], "num_in_ch": channels, "num_out_ch": channels}
    net, lq, size = build_network(options), torch.rand(2, channels, 5, 7), (13, 16)
    with torch.no_grad():
        queries = net(lq, make_coord(size).expand(2, -1, -1), make_cell(size).expand(2, 1, -1))
    assert queries.shape == (2, 13 * 16, channels)
    torch.testing.assert_close(net.render(lq, size), queries.mT.unflatten(2, size), rtol=0, atol=3e-6)
    with pytest.raises(LIIFError, match=rf"lq: expected shape \(B, {channels}, h, w\)"):
        net.render(torch.rand(1, 3, 5, 7), size)


def test_encoder_channels_must_match():
    block = {"type": "LIIF", "encoder": {**ENCODER, "num_in_ch": 4}, "num_in_ch": 1}
    message = "network_g: encoder: num_in_ch: is 4, but this block's number of input channels is 1; remove num_in_ch"
    with pytest.raises(LIIFError, match=message):
        build_network(block)
