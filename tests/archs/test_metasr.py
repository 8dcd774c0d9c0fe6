"""MetaSR compared with its plain form, and invalid arguments."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import mlp, unfolded

from liif_basicsr.archs.metasr_arch import MetaDecoder, MetaSR
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.coordinates import make_cell, make_coord
from liif_basicsr.rendering.queries import Axis


def plain(feat, layers, point, cell):
    """Return Meta-SR's color (3,) at `point` as in the paper, where the MLP predicts a filter for each query."""
    _, h, w = feat.shape
    edge = [(p - c / 2 + 1) / 2 * n for p, c, n in zip(point, cell, (h, w), strict=True)]  # in features
    i, j = (int(np.clip(np.floor(e + 1e-6), 0, n - 1)) for e, n in zip(edge, (h, w), strict=True))
    weights = mlp(np.array([edge[0] - i, edge[1] - j, cell[0] * h / 2]), layers)
    return unfolded(feat, i, j) @ weights.reshape(-1, 3)


def small_metasr(**kwargs):
    torch.manual_seed(0)
    return MetaSR({"type": "EDSR", "num_feat": 6, "num_block": 1}, **{"hidden_dim": 16, **kwargs})


@settings(max_examples=15)
@given(h=st.integers(1, 6), w=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_outputs_equal_the_plain_form(h, w, seed):
    torch.manual_seed(seed)
    decoder = MetaDecoder(3, 7).double()
    feat = torch.randn(2, 3, h, w, dtype=torch.float64)
    coord, cell = torch.rand(2, 5, 2, dtype=torch.float64) * 2 - 1, torch.rand(2, 5, 2, dtype=torch.float64)
    output = decoder(feat, coord, cell).numpy(force=True)
    layers = [(m.weight.numpy(force=True), m.bias.numpy(force=True)) for m in decoder.layers]
    for b, q in np.ndindex(2, 5):
        expected = plain(feat[b].numpy(force=True), layers, coord[b, q].numpy(force=True), cell[b, q].numpy(force=True))
        np.testing.assert_allclose(output[b, q], expected, rtol=1e-5, atol=1e-5)  # centers are float32


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_feature_and_offset_at_integer_scales(scale):
    coord, cell = make_coord((31 * scale, 1))[:, 0], make_cell((31 * scale, 1))[0]
    index, rel = Axis(coord, cell, 31, 0, 31).first_edge()
    assert torch.equal(index, torch.arange(31).repeat_interleave(scale))
    torch.testing.assert_close(rel, torch.arange(scale).repeat(31) / scale, rtol=0, atol=5e-6)


def test_gradcheck():
    torch.manual_seed(0)
    decoder = MetaDecoder(2, 5).double()
    coord, cell = torch.rand(2, 4, 2).double() * 2 - 1, torch.rand(2, 4, 2).double()
    feat = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    names, values = zip(*decoder.named_parameters(), strict=True)

    def output(feat, *values):
        return torch.func.functional_call(decoder, dict(zip(names, values, strict=True)), (feat, coord, cell))

    assert torch.autograd.gradcheck(output, (feat, *values))


@pytest.mark.parametrize("kwargs, says", [
    ({"hidden_dim": 0}, "hidden_dim"),
    ({"input_skip": "nearest"}, "bilinear"),
    ({"scale": "4"}, "scale"),
    ({"encoder": {"type": "RDM"}}, "did you mean 'RDN'"),
])
def test_invalid_arguments(kwargs, says):
    with pytest.raises(LIIFError, match=says):
        MetaSR(**{"encoder": {"type": "EDSR", "num_block": 1}, **kwargs})


def test_missing_cell():
    with pytest.raises(LIIFError, match="cell: missing"):
        small_metasr()(torch.rand(1, 3, 4, 4), torch.zeros(1, 1, 2))


def test_number_of_parameters():
    # The official code has 24 more, in two mean shifts that it does not use.
    net = MetaSR({"type": "EDSR"})
    assert sum(p.numel() for p in net.parameters()) == 1_220_416 + 4 * 256 + 257 * 64 * 9 * 3
