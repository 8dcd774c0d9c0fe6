"""`tile_wrap` equals upscaling a periodic repetition of the image."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_files import model

import liif_basicsr
from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.images.wrapping import aligned_margins, output_margins, repeat

__all__ = ["model"]

RCAN = {"type": "RCAN", "num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2}


def texture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.3, 0.7, (height, width, channels)).astype(np.float32)


def upscale_copies(image: np.ndarray, axes: str, size: tuple[int, int], copies: int, **options) -> np.ndarray:
    """Upscale copies of an image side by side, and return the output of the middle one."""
    n = copies if "y" in axes else 1, copies if "x" in axes else 1
    many = liif_basicsr.upscale(np.tile(image, (*n, 1)), size=(n[0] * size[0], n[1] * size[1]), **options)
    top, left = n[0] // 2 * size[0], n[1] // 2 * size[1]
    return many[top : top + size[0], left : left + size[1]]


@pytest.mark.parametrize("axes", ["x", "y", "xy"])
@pytest.mark.parametrize("size", [(9, 12), (18, 24), (33, 44), (31, 43), (9, 100)])
def test_output_equals_a_periodic_repetition(model, axes, size):
    image, options = texture(9, 12), {"model": model, "precision": "float32"}
    expected = upscale_copies(image, axes, size, 5, **options)
    output = liif_basicsr.upscale(image, size=size, tile_wrap=axes, **options)
    assert np.abs(output - expected).max() < 2e-5
    if size != image.shape[:2]:
        assert np.abs(liif_basicsr.upscale(image, size=size, **options) - expected).max() > 1e-3


@pytest.mark.parametrize("options", [
    {"self_ensemble": True}, {"method": "bicubic"}, {"method": "nearest"}, {"strength": 0.5},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 4])
def test_every_method_wraps(model, options, channels):
    if "strength" in options:  # the receptive field of `liif-fast` exceeds 5 copies of a small image
        image, copies = texture(40, 41, channels), 3
    else:
        image, copies = texture(9, 12, channels), 5
    size = (image.shape[0] * 2, image.shape[1] + 4)
    options = options if "method" in options else {"model": model, "precision": "float32", **options}
    expected = upscale_copies(image, "xy", size, copies, **options)
    assert np.abs(liif_basicsr.upscale(image, size=size, tile_wrap="xy", **options) - expected).max() < 2e-5


def test_unbounded_receptive_field_sees_whole_copies():
    torch.manual_seed(0)
    net = build_network({"type": "LIIF", "encoder": RCAN, "hidden_dims": [8]}).eval()
    image = texture(9, 12)
    expected = upscale_copies(image, "xy", (20, 31), 3, model=net)
    assert np.abs(liif_basicsr.upscale(image, size=(20, 31), tile_wrap="xy", model=net) - expected).max() < 2e-5


def test_hidden_colors_come_from_across_the_edge(model):
    image = texture(10, 10, 4)
    image[..., :3], image[..., 3] = 0.4, 0
    image[:, 9], image[:, 2] = [0.7, 0.7, 0.7, 1], [0.4, 0.4, 0.4, 1]
    options = {"size": (20, 20), "method": "bicubic"}
    wrapped = liif_basicsr.upscale(image, tile_wrap="x", **options)
    assert wrapped[:, 0, :3] == pytest.approx(0.7, abs=0.05)
    assert liif_basicsr.upscale(image, **options)[:, 0, :3] == pytest.approx(0.4, abs=0.05)


@given(n=st.integers(1, 300), n_out=st.integers(1, 3000), least=st.one_of(st.none(), st.integers(0, 400)))
def test_margins_are_whole_output_pixels(n, n_out, least):
    margins = aligned_margins("y", (n, 7), (n_out, 9), least)
    outer = output_margins(margins, (n, 7), (n_out, 9))
    assert margins[1] == outer[1] == 0
    assert outer[0] * n == margins[0] * n_out
    assert margins[0] == n if least is None else least <= margins[0] < least + n


@given(n=st.integers(1, 9), margin=st.integers(0, 30))
def test_repeat_is_periodic(n, margin):
    row = np.arange(n)[None]
    assert np.array_equal(repeat(row, (0, margin))[0], np.arange(-margin, n + margin) % n)


@pytest.mark.parametrize("method", [None, "bicubic"])
def test_unknown_axes(model, method):
    with pytest.raises(LIIFError, match="^tile_wrap: expected x, y or xy, got 'z'$"):
        liif_basicsr.upscale(texture(4, 4), model=model, method=method, tile_wrap="z")
