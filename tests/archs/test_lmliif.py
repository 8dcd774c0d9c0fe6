"""LM-LIIF compared with its plain form. The contract of all decoders is in test_decoders.py."""
from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_form import arrays, assert_gradients_equal, assert_outputs_equal, pointwise

from liif_basicsr.archs.base import Decoder
from liif_basicsr.archs.lmliif_arch import LMLIIF, LMLIIFDecoder
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.queries import PixelAxis, PixelGrid

NAMES = ("local_ensemble", "feat_unfold", "cell_decode", "mod_input", "mod_scale", "mod_shift")
SWITCHES = [
    {},
    *({name: False} for name in NAMES),
    {"mod_input": False, "mod_scale": False},
    {"mod_scale": False, "mod_shift": False},
    {"mod_input": False, "feat_unfold": False, "cell_decode": False, "local_ensemble": False},
]
each_switch = pytest.mark.parametrize("switches", SWITCHES, ids=lambda switches: ", ".join(switches) or "all on")


def small_decoder(switches, latent_dims=(9,), depth=3):
    torch.manual_seed(0)
    switches = {**dict.fromkeys(NAMES, True), **switches}
    return LMLIIFDecoder(3, latent_dims, 5, depth, **switches, max_scale=None).double()


def plain_form(decoder, switches):
    def plain(feat, point, cell):
        latent, layers = ([arrays(layer) for layer in mlp] for mlp in (decoder.latent, decoder.layers))
        return oracle.lmliif_query(feat, latent, layers, point, cell, **switches)

    return plain


def small_lmliif(**kwargs):
    torch.manual_seed(0)
    small = {"latent_dims": [16], "render_dim": 8, "render_depth": 3, **kwargs}
    return LMLIIF({"type": "EDSR", "num_feat": 6, "num_block": 1}, **small)


@each_switch
@settings(max_examples=5)
@given(h=st.integers(1, 6), w=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_outputs_equal_the_plain_form(switches, h, w, seed):
    decoder = small_decoder(switches)
    assert_outputs_equal(decoder, pointwise(plain_form(decoder, switches)), (h, w), seed)


@pytest.mark.parametrize("latent_dims, depth", [((), 1), ((4, 6), 2)], ids=str)
def test_other_depths_equal_the_plain_form(latent_dims, depth):
    decoder = small_decoder({}, latent_dims, depth)
    assert_outputs_equal(decoder, pointwise(plain_form(decoder, {})), (4, 3), 0)


@each_switch
def test_gradients_equal_the_plain_form(switches):
    decoder = small_decoder(switches)
    assert_gradients_equal(decoder, pointwise(plain_form(decoder, switches)))


@each_switch
@settings(max_examples=5)
@given(data=st.data())
def test_image_equals_queries(switches, data):
    decoder = small_decoder(switches)
    h, w, height, width = (data.draw(st.integers(1, n)) for n in (6, 6, 20, 20))
    device = torch.get_default_device()
    y, x = (PixelAxis(range(n_out), n_out, n, 0, n, None, device) for n_out, n in ((height, h), (width, w)))
    pixels = PixelGrid(y, x, height * width)
    with torch.no_grad():
        prepared = decoder.prepare(torch.randn(1, 3, h, w).double())
        before = prepared.clone()
        (fast,), (plain,) = decoder.decode(prepared, pixels), Decoder.decode(decoder, prepared, pixels)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-7)  # cells are rounded to float32
    assert torch.equal(prepared, before)


def test_chunks_of_one_feature(monkeypatch):
    net, lq = small_lmliif(), torch.rand(1, 3, 7, 8)
    together = net.render(lq, (23, 31))
    monkeypatch.setattr(memory, "CPU_MLP_BYTES", 1)
    monkeypatch.setattr(memory, "LATENT_FEATURES", 3)
    torch.testing.assert_close(net.render(lq, (23, 31)), together, rtol=0, atol=1e-6)


def test_each_query_has_its_own_cell():
    net, lq, coord, cell = small_lmliif(), torch.rand(1, 3, 4, 5), torch.rand(1, 9, 2) * 2 - 1, torch.rand(1, 9, 2)
    together = net(lq, coord, cell)
    alone = torch.cat([net(lq, coord[:, q : q + 1], cell[:, q : q + 1]) for q in range(9)], dim=1)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert (together - net(lq, coord, cell[:, :1])).abs().max() > 1e-4


@pytest.mark.parametrize("kwargs, says", [
    ({"render_depth": 0}, "render_depth"),
    ({"latent_dims": [0]}, "latent_dims"),
    ({"mod_scale": "yes"}, "mod_scale"),
    ({"max_scale": 0.5}, "max_scale"),
    ({"mod_input": False, "mod_scale": False, "mod_shift": False}, "mod_input, mod_scale and mod_shift"),
])
def test_invalid_arguments(kwargs, says):
    with pytest.raises(LIIFError, match=says):
        small_lmliif(**kwargs)
