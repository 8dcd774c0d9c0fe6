"""An encoded image renders the same pixels as `render` and encodes each tile once."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liif_basicsr.archs import build_network
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.memory import Tiling

EDSR = {"type": "EDSR", "num_feat": 4, "num_block": 1}
RCAN = {"type": "RCAN", "num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2}
# Arguments of small networks.
SMALL = {"LIIF": {"hidden_dims": [8]}, "SRNO": {"width": 8, "num_heads": 2, "hidden_dim": 8}, "Thera": {"num_freq": 4}}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(memory, "CACHED_TILE", 5)


def make(network="LIIF", encoder=EDSR, **args):
    torch.manual_seed(0)
    return build_network({"type": network, "encoder": encoder, **SMALL.get(network, {}), **args}).eval()


def count_encoding(net, monkeypatch):
    seen, encode = [], net.encode
    monkeypatch.setattr(net, "encode", lambda lq: seen.append(lq.shape[-2:]) or encode(lq))
    return seen


@pytest.mark.parametrize("encoder", [EDSR, RCAN], ids=["tiles", "whole"])
@pytest.mark.parametrize("network", ["LIIF", "MetaSR", "SRNO", "Thera"])
@settings(max_examples=10)
@given(data=st.data())
def test_windows_equal_render(network, encoder, data):
    net = make(network, encoder, input_skip="bilinear")
    h, w = data.draw(st.tuples(st.integers(1, 14), st.integers(1, 14)))
    lq = torch.rand(1, 3, h, w)
    image = net.encode_image(lq)
    for _ in range(3):
        size = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
        top, left = (data.draw(st.integers(0, n - 1)) for n in size)
        window = (top, left, data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left)))
        torch.testing.assert_close(image.render(size, window), net.render(lq, size, window), rtol=1e-5, atol=1e-5)


def test_cached_axes_are_not_reused_for_other_windows():
    net, lq = make("ContinuousShuffleSR"), torch.rand(1, 3, 9, 9)
    image = net.encode_image(lq)
    for size, window in [((27, 27), (0, 4, 6, 6)), ((27, 27), (0, 0, 6, 6)), ((31, 31), (0, 4, 6, 6))]:
        expected = net.render(lq, size, window)
        for _ in range(2):
            torch.testing.assert_close(image.render(size, window), expected, rtol=1e-5, atol=1e-5)
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        torch.testing.assert_close(image.render(size, window), expected, rtol=0.1, atol=0.1)


def test_tiles_are_encoded_once_and_only_where_needed(monkeypatch):
    net = make()
    encoded = count_encoding(net, monkeypatch)
    image = net.encode_image(torch.rand(1, 3, 15, 15))
    image.render((150, 150), (0, 0, 30, 30))
    assert len(encoded) == 1
    for size in (150, 151, 300):
        image.render((size, size))
    assert len(encoded) == 9


def test_memory_for_features_is_bounded(monkeypatch):
    net = make()
    encoded = count_encoding(net, monkeypatch)
    image = net.encode_image(torch.rand(1, 3, 15, 15), max_bytes=2 * 5 * 5 * 4 * 4)
    for left in (0, 0, 70, 140, 0):  # three tiles, but only two fit the cache
        image.render((150, 150), (0, left, 1, 1))
    assert len(encoded) == 4


@pytest.mark.parametrize(("network", "encoder", "tile", "batches"), [
    ("LIIF", EDSR, 16, [3, 2]), ("SRNO", EDSR, 16, [3, 2]), ("LIIF", RCAN, 16, [3, 2]), ("LIIF", EDSR, 8, [1] * 5),
])  # fmt: skip
def test_images_of_one_tile_are_encoded_together(monkeypatch, network, encoder, tile, batches):
    """A batch is encoded in parts. Together, the images of a part have at most as many pixels as a tile."""
    net, lq = make(network, encoder, input_skip="bilinear"), torch.rand(5, 3, 8, 9)
    coord, cell = -torch.rand(5, 7, 2), torch.full((5, 1, 2), 0.1)  # in the first tile, like the window
    net.tiling = Tiling(tile=tile)
    functions = lambda lq, *_: net.render(lq, (20, 17), (3, 2, 15, 9)), net.sample
    alone = [torch.cat([function(*(part[k : k + 1] for part in (lq, coord, cell))) for k in range(5)])
             for function in functions]  # fmt: skip
    counts, encode = [], net.encode
    monkeypatch.setattr(net, "encode", lambda lq: counts.append(len(lq)) or encode(lq))
    for function, expected in zip(functions, alone, strict=True):
        torch.testing.assert_close(function(lq, coord, cell), expected, rtol=0, atol=3e-6)
    assert counts == batches * 2
