"""LTE compared with its plain form. The contract of all decoders is in test_decoders.py."""
from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_form import arrays, assert_gradients_equal, assert_outputs_equal, pointwise

from liif_basicsr.archs.lte_arch import LTE, LTEDecoder
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.coordinates import make_cell, make_coord


def small_decoder(hidden_dims=(8, 7), num_freq=5):
    torch.manual_seed(0)
    return LTEDecoder(3, hidden_dims, num_freq).double()


def plain_form(decoder):
    def plain(feat, point, cell):
        layers, phase = [arrays(layer) for layer in decoder.layers], decoder.phase.weight.numpy(force=True)
        return oracle.lte_query(feat, arrays(decoder.coef), arrays(decoder.freq), phase, layers, point, cell)

    return plain


def small_lte(**kwargs):
    torch.manual_seed(0)
    return LTE({"type": "EDSR", "num_feat": 6, "num_block": 1}, **{"hidden_dims": [16], "num_freq": 8, **kwargs})


@pytest.mark.parametrize("hidden_dims", [[], [8], [8, 7]], ids=str)
@settings(max_examples=10)
@given(h=st.integers(1, 6), w=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_outputs_equal_the_plain_form(hidden_dims, h, w, seed):
    decoder = small_decoder(hidden_dims)
    assert_outputs_equal(decoder, pointwise(plain_form(decoder)), (h, w), seed)


def test_gradients_equal_the_plain_form():
    decoder = small_decoder()
    assert_gradients_equal(decoder, pointwise(plain_form(decoder)))


@pytest.mark.parametrize("training", [False, True])
def test_max_scale_limits_the_cell_of_whole_images(training):
    net, lq = small_lte(max_scale=4, scale=8).train(training), torch.rand(1, 3, 5, 6)
    coord = make_coord((40, 48))[None]
    clipped, own = (net(lq, coord, make_cell(size)[None, None]) for size in ((20, 24), (40, 48)))
    torch.testing.assert_close(net(lq), clipped.mT.unflatten(2, (40, 48)), rtol=0, atol=3e-6)
    assert (clipped - own).abs().max() > 1e-3


def test_max_scale_keeps_larger_cells():
    net, lq = small_lte(max_scale=4), torch.rand(1, 3, 5, 6)
    limited = net.render(lq, (20, 13))
    net.decoder.max_scale = None
    torch.testing.assert_close(limited, net.render(lq, (20, 13)), rtol=0, atol=1e-6)


def test_frequencies_stay_in_full_precision_under_autocast():
    decoder, feat = small_decoder().float(), torch.randn(1, 3, 5, 5)
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        half = decoder.prepare(feat)
    whole = decoder.prepare(feat)
    assert half.dtype == torch.float32
    assert torch.equal(half[:, 10:], whole[:, 10:]) and not torch.equal(half[:, :10], whole[:, :10])


def test_input_skip():
    lq, size = torch.rand(1, 3, 4, 5), (9, 11)
    bilinear = torch.nn.functional.interpolate(lq, size, mode="bilinear")
    difference = small_lte().render(lq, size) - bilinear
    torch.testing.assert_close(small_lte(input_skip=None).render(lq, size) - 0.5, difference, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kwargs, says", [
    ({"num_freq": 0}, "num_freq"),
    ({"max_scale": 0}, "max_scale"),
    ({"hidden_dims": 256}, "hidden_dims"),
    ({"input_skip": "nearest"}, "bilinear"),
])
def test_invalid_arguments(kwargs, says):
    with pytest.raises(LIIFError, match=says):
        small_lte(**kwargs)
