"""SRNO compared with its plain form, and attention in tiles. The contract of all decoders is in test_decoders.py."""
from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_form import Plain, arrays, assert_gradients_equal, assert_outputs_equal

from liif_basicsr.archs.srno_arch import SRNO, SRNODecoder
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.coordinates import Window, make_cell, make_coord
from liif_basicsr.rendering.memory import Tiling
from liif_basicsr.rendering.warped import render_warped
from liif_basicsr.rendering.warps import Homography


def small_decoder() -> SRNODecoder:
    torch.manual_seed(0)
    return SRNODecoder(3, width=6, num_heads=2, hidden_dim=5).double()


def plain_form(decoder: SRNODecoder) -> Plain:
    def plain(feat: np.ndarray, points: np.ndarray, cells: np.ndarray) -> np.ndarray:
        attention = [
            (layer.num_heads, *(arrays(part) for part in (layer.qkv, layer.norm_k, layer.norm_v, layer.fc1, layer.fc2)))
            for layer in decoder.attention
        ]
        return oracle.srno_decode(
            feat, arrays(decoder.lift), attention, [arrays(layer) for layer in decoder.project], points, cells
        )

    return plain


def small_srno(**kwargs: Any) -> SRNO:
    torch.manual_seed(0)
    encoder = {"type": "EDSR", "num_feat": 6, "num_block": 1}
    net = SRNO(encoder, **{"width": 8, "num_heads": 2, "hidden_dim": 8, **kwargs}).eval()
    with torch.no_grad():  # an untrained network hardly depends on the attention
        for layer in net.decoder.attention:
            layer.qkv.weight.mul_(4)
            layer.fc1.weight.mul_(4)
    return net


@settings(max_examples=10)
@given(h=st.integers(1, 6), w=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_outputs_equal_the_plain_form(h: int, w: int, seed: int) -> None:
    decoder = small_decoder()
    assert_outputs_equal(decoder, plain_form(decoder), (h, w), seed)


def test_gradients_equal_the_plain_form() -> None:
    decoder = small_decoder()
    assert_gradients_equal(decoder, plain_form(decoder))


def test_positions_depend_on_each_other() -> None:
    net, lq, size = small_srno(), torch.rand(1, 3, 6, 7), (12, 15)
    coord, cell = make_coord(size)[None], make_cell(size)[None, None]
    with torch.no_grad():
        whole, half = net(lq, coord, cell), net(lq, coord[:, :90], cell)
    assert (whole[:, :90] - half).abs().max() > 1e-3


def test_windows_attend_to_the_whole_image() -> None:
    net, lq = small_srno(), torch.rand(1, 3, 9, 11)
    net.tiling = Tiling(tile=4, block_bytes=4 * 20 * net.decoder.floats_per_pixel)
    whole = net(lq, make_coord((20, 25))[None], make_cell((20, 25))[None, None]).mT.unflatten(2, (20, 25))
    part = net.encode_image(lq, max_bytes=0).render((20, 25), (3, 4, 5, 6))
    torch.testing.assert_close(part, whole[..., 3:8, 4:10], rtol=0, atol=3e-6)


def test_the_sums_over_the_image_are_computed_once_per_size(monkeypatch: pytest.MonkeyPatch) -> None:
    net = small_srno()
    image, calls, context = net.encode_image(torch.rand(1, 3, 6, 5)), [], net.decoder.context
    monkeypatch.setattr(net.decoder, "context", lambda blocks: calls.append(0) or context(blocks))
    monkeypatch.setattr(memory, "CACHED_CONTEXTS", 2)
    for scale in (2, 3, 2, 4, 2, 3):  # rendering x4 drops the sums of x3
        image.render((6 * scale, 5 * scale), (1, 1, 2, 2))
    assert len(calls) == 4


def test_warps_attend_to_a_regular_grid() -> None:
    net, lq, size = small_srno(), torch.rand(1, 3, 8, 9), (16, 18)
    net.tiling = Tiling(tile=4)
    matrix = np.diag([2.0, 2.0, 1.0]) + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    upscaling, shifted = Homography(matrix, size), Homography(matrix + [[0, 0, 2], [0, 0, 4], [0, 0, 0]], size)
    image, window = net.encode_image(lq), Window(0, 0, *size)
    assert upscaling.is_upscaling((8, 9)) and not shifted.is_upscaling((8, 9))
    whole, moved = (render_warped(image, warp, window) for warp in (upscaling, shifted))
    # Compare only pixels whose neighbors all lie inside the image.
    torch.testing.assert_close(moved[:3, 7:, 5:], whole[:3, 3:-4, 3:-2], rtol=0, atol=1e-5)


def test_max_scale_limits_the_cell_of_whole_images() -> None:
    net, lq = small_srno(max_scale=4), torch.rand(1, 3, 5, 6)
    coord = make_coord((40, 48))[None]
    clipped, own = (net(lq, coord, make_cell(size)[None, None]) for size in ((20, 24), (40, 48)))
    torch.testing.assert_close(net.render(lq, (40, 48)), clipped.mT.unflatten(2, (40, 48)), rtol=0, atol=3e-6)
    assert (clipped - own).abs().max() > 1e-3


def test_sums_stay_in_full_precision_under_autocast() -> None:
    layer, x = small_decoder().float().attention[0], torch.randn(1, 5000, 6)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer.key_values(x).dtype == torch.float32


@pytest.mark.parametrize("kwargs, says", [
    ({"num_heads": 3}, r"num_heads: expected a divisor of width \(8\), at most half of it, got 3"),
    ({"num_heads": 8}, "num_heads: expected a divisor"),
    ({"width": 0}, "width"),
    ({"max_scale": 0.5}, "max_scale"),
    ({"input_skip": "nearest"}, "bilinear"),
])
def test_invalid_arguments(kwargs: dict[str, Any], says: str) -> None:
    with pytest.raises(LIIFError, match=says):
        small_srno(**kwargs)
