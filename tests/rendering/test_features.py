"""Blended tiles for large images and encoders with an unbounded receptive field."""
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liif_basicsr.archs import build_network
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.features import BlendedFeatures

RCAN = {"type": "RCAN", "num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2}


def blended(lq, encode, max_bytes=1 << 20):
    return BlendedFeatures(lq, encode, radius=3, tile=9, max_bytes=max_bytes)


def whole(image):
    return image.region(range(image.size[0]), range(image.size[1])).features


@settings(max_examples=40)
@given(data=st.data())
def test_pointwise_features_are_exact(data):
    h, w = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    top, left = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    rows, cols = range(top, data.draw(st.integers(top + 1, h))), range(left, data.draw(st.integers(left + 1, w)))
    lq = torch.rand(1, 3, h, w)
    part = blended(lq, lambda x: x * 2 - 1).region(rows, cols).features
    expected = lq[:, :, rows.start : rows.stop, cols.start : cols.stop] * 2 - 1
    torch.testing.assert_close(part, expected)


def test_tiles_fade_into_each_other():
    lq = torch.rand(1, 3, 40, 31)
    feat = whole(blended(lq, lambda x: x.mean((2, 3), keepdim=True).expand_as(x)))
    gap = feat.amax() - feat.amin()
    for axis in (2, 3):
        assert feat.diff(dim=axis).abs().max() <= gap / 6 + 1e-6  # over twice the radius


def test_tiles_are_encoded_once():
    seen = []
    image = blended(torch.rand(1, 3, 27, 9), lambda x: seen.append(x) or x)
    for _ in range(2):
        whole(image)
    assert len(seen) == 3


@pytest.fixture
def small_whole(monkeypatch):
    monkeypatch.setattr(memory, "WHOLE_PIXELS", 400)
    monkeypatch.setattr(memory, "BLENDED_TILE", 12)
    monkeypatch.setattr(memory, "BLEND_OVERLAP", 6)


def test_large_images_are_close_to_exact_with_a_warning(small_whole, monkeypatch):
    torch.manual_seed(0)
    net, lq = build_network({"type": "LIIF", "encoder": RCAN, "hidden_dims": [8]}).eval(), torch.rand(1, 3, 21, 23)
    with pytest.warns(UserWarning, match="the encoder has no receptive_radius, and an image of 21x23"):
        near = net.render(lq, (40, 50))
    with pytest.warns(UserWarning, match="blended"):
        torch.testing.assert_close(net.encode_image(lq).render((40, 50)), near, rtol=0, atol=1e-5)
    monkeypatch.setattr(memory, "WHOLE_PIXELS", 21 * 23)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = net.render(lq, (40, 50))
    assert 0 < (near - exact).abs().max() < 0.02
