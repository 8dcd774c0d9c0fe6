"""LIIF compared with the reference in oracle.py for all switches, and invalid arguments."""
import itertools

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiling import assert_tiling_is_exact

from liif_basicsr.archs.liif_arch import LIIF, LIIFDecoder
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.coordinates import make_cell, make_coord

SWITCHES = [dict(zip(("local_ensemble", "feat_unfold", "cell_decode"), s, strict=True))
            for s in itertools.product((True, False), repeat=3)]


def array(tensor):
    return tensor.numpy(force=True)


def layers_of(decoder):
    return [tuple(array(param.double()) for param in (m.weight, m.bias)) for m in decoder.layers]


def small_liif(seed=0, **kwargs):
    torch.manual_seed(seed)
    encoder = {"type": "EDSR", "num_feat": 6, "num_block": 1}
    return LIIF(encoder, **{"hidden_dims": [16, 16], **kwargs})


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("hidden_dims", [[], [8], [8, 7, 6]], ids=str)
@settings(max_examples=5)
@given(h=st.integers(1, 6), w=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_outputs_equal_the_plain_form(switches, hidden_dims, h, w, seed):
    torch.manual_seed(seed)
    decoder = LIIFDecoder(3, hidden_dims, **switches).double()
    feat = torch.randn(2, 3, h, w, dtype=torch.float64)
    coord = torch.rand(2, 5, 2, dtype=torch.float64) * 2 - 1
    cell = torch.rand(2, 5, 2, dtype=torch.float64)
    output = array(decoder(feat, coord, cell))
    for one in range(2):
        plain = oracle.decode(array(feat[one]), layers_of(decoder), array(coord[one]), array(cell[one]), **switches)
        np.testing.assert_allclose(output[one], plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_gradients_equal_the_plain_form(switches):
    torch.manual_seed(0)
    decoder = LIIFDecoder(2, [5, 4], **switches).double()
    feat = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    coord, cell = torch.rand(1, 6, 2, dtype=torch.float64) * 2 - 1, torch.rand(1, 6, 2, dtype=torch.float64)
    direction = torch.randn(1, 6, 3, dtype=torch.float64)
    (decoder(feat, coord, cell) * direction).sum().backward()

    def plain_loss(value):  # the oracle's loss; the caller changes parameters and features in place
        inputs = (array(feat[0]), layers_of(decoder), array(coord[0]), array(cell[0]))
        plain = oracle.decode(*inputs, **switches)
        return (plain * array(direction[0])).sum()

    rng = np.random.default_rng(0)
    for tensor in (feat, *decoder.parameters()):
        for flat in rng.choice(tensor.numel(), min(4, tensor.numel()), replace=False):
            data, step = tensor.data.view(-1), 1e-6
            data[flat] += step
            above = plain_loss(tensor)
            data[flat] -= 2 * step
            below = plain_loss(tensor)
            data[flat] += step
            assert tensor.grad.view(-1)[flat].item() == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("input_skip", [None, "bilinear"])
@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("size", [(10, 14), (13, 31), (5, 7), (4, 3), (150, 210)], ids=str)
def test_image_equals_queries(switches, input_skip, size):
    net = small_liif(**switches, input_skip=input_skip)
    lq = torch.rand(2, 3, 5, 7)
    with torch.no_grad():
        queries = net(lq, make_coord(size).expand(2, -1, -1), make_cell(size).expand(2, 1, -1))
    torch.testing.assert_close(net.render(lq, size), queries.mT.unflatten(2, size), rtol=0, atol=2e-6)


@settings(max_examples=25)
@given(data=st.data(), tile=st.integers(3, 12), block=st.integers(1, 40), ensemble=st.booleans())
def test_tiles_blocks_and_windows_are_exact(data, tile, block, ensemble):
    assert_tiling_is_exact(small_liif(local_ensemble=ensemble, input_skip="bilinear"), data, tile, block)


def test_one_cell_for_all_queries():
    net, lq, coord = small_liif(), torch.rand(2, 3, 4, 5), torch.rand(2, 9, 2) * 2 - 1
    cell = torch.rand(2, 1, 2)
    torch.testing.assert_close(net(lq, coord, cell), net(lq, coord, cell.expand(2, 9, 2)))


def test_input_is_not_modified():
    net, lq = small_liif(), torch.rand(1, 3, 6, 6)
    before = lq.clone()
    net.render(lq, (9, 9))
    assert torch.equal(lq, before)


@pytest.mark.parametrize("size, window", [((0, 4), None), ((4, -1), None), ((4.0, 4), None), ((4, 4), (0, 0, 5, 4)),
                                          ((4, 4), (-1, 0, 2, 2)), ((4, 4), (0, 0, 0, 2))])
def test_invalid_sizes_and_windows(size, window):
    with pytest.raises(LIIFError, match="size|window"):
        small_liif().render(torch.rand(1, 3, 4, 4), size, window)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 4, 5), (4, 5)])
def test_invalid_image_shapes(shape):
    net = small_liif()
    for use in (lambda lq: net.render(lq, (8, 10)), net, net.encode_image):
        with pytest.raises(LIIFError, match=r"lq: expected shape \(B, 3, h, w\), got \("):
            use(torch.rand(shape))


def test_output_that_exceeds_memory():
    net, lq = small_liif(), torch.rand(1, 3, 4, 4)
    message = r"size \(1000000, 1000000\): (the output does not fit into|not enough GPU) memory.* window"
    with pytest.raises(LIIFError, match=message):
        net.render(lq, (1_000_000, 1_000_000))
    assert net.render(lq, (1_000_000, 1_000_000), (500_000, 7, 2, 3)).shape == (1, 3, 2, 3)


@pytest.mark.parametrize("kwargs, says", [
    ({"encoder": {"type": "EDSRR"}}, "did you mean 'EDSR'"),
    ({"encoder": {"type": "EDSR", "num_feats": 3}}, "did you mean 'num_feat'"),
    ({"encoder": {}}, "unknown encoder None"),
    ({"encoder": {"type": "EDSR"}, "input_skip": "nearest"}, "bilinear"),
    ({"encoder": {"type": "EDSR"}, "hidden_dims": 256}, "hidden_dims"),
    ({"encoder": {"type": "EDSR"}, "cell_decode": "yes"}, "cell_decode"),
])
def test_invalid_arguments(kwargs, says):
    with pytest.raises(LIIFError, match=says):
        LIIF(**kwargs)
