"""Thera compared with its plain form, and its anti-aliasing. The contract of all decoders is in test_decoders.py."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_form import arrays, assert_gradients_equal, assert_outputs_equal, pointwise

from liif_basicsr.archs import build_network
from liif_basicsr.archs.thera_arch import Thera, TheraDecoder
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.coordinates import make_cell, make_coord

ENCODER = {"type": "EDSR", "num_feat": 6, "num_block": 1}


def small_decoder(num_freq: int = 5) -> TheraDecoder:
    torch.manual_seed(0)
    decoder = TheraDecoder(3, num_freq=num_freq).double()
    torch.nn.init.uniform_(decoder.hyper.bias, -1, 1)
    return decoder


def plain_form(decoder: TheraDecoder) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    def plain(feat: np.ndarray, point: np.ndarray, cell: np.ndarray) -> np.ndarray:
        freq, kappa = decoder.freq.numpy(force=True), decoder.kappa.item()
        return oracle.thera_query(feat, arrays(decoder.hyper), freq, kappa, point, cell)

    return plain


def small_thera(**kwargs: Any) -> Thera:
    torch.manual_seed(0)
    return Thera(ENCODER, **{"num_freq": 8, **kwargs}).eval()


@settings(max_examples=10)
@given(h=st.integers(1, 6), w=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_outputs_equal_the_plain_form(h: int, w: int, seed: int) -> None:
    decoder = small_decoder()
    assert_outputs_equal(decoder, pointwise(plain_form(decoder)), (h, w), seed)


def test_gradients_equal_the_plain_form() -> None:
    decoder = small_decoder()
    assert_gradients_equal(decoder, pointwise(plain_form(decoder)))


def test_a_pixel_is_the_gaussian_mean_of_its_footprint() -> None:
    """A pixel's height and width determine the blur along y and x, as numerical integration confirms."""
    decoder, cell = small_decoder(), np.array([0.7, 0.3])
    with torch.no_grad():
        decoder.freq *= 0.3  # so that quadrature needs few nodes
    plain, feat, point = plain_form(decoder), np.ones((3, 1, 1)), np.array([0.2, -0.1])
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    weights = weights / weights.sum()
    deviation = math.sqrt(2 * decoder.kappa.item()) * cell  # in coordinates, where the only feature is 2 wide
    mean = sum(
        u * v * plain(feat, point + deviation * [a, b], np.zeros(2))
        for a, u in zip(nodes, weights, strict=True)
        for b, v in zip(nodes, weights, strict=True)
    )
    np.testing.assert_allclose(plain(feat, point, cell), mean, rtol=1e-8)
    found = decoder(*(torch.tensor(x)[None] for x in (feat, point[None], cell[None])))[0, 0]
    np.testing.assert_allclose(found.numpy(force=True), mean, rtol=1e-8)


def test_gradient_at_time_0_equals_differences() -> None:
    net = small_thera(num_freq=5).double()
    lq, coord, cell = torch.rand(1, 3, 4, 5).double(), torch.rand(1, 6, 2).double() * 2 - 1, torch.zeros(1, 1, 2)
    output, gradient = net(lq, coord, cell + 0.2, gradient=True)
    torch.testing.assert_close(output, net(lq, coord, cell + 0.2))
    step = 1e-6  # in input pixels; an input pixel is 2 / n wide
    for axis, n in enumerate((4, 5)):
        move = torch.zeros(2).double()
        move[axis] = step * 2 / n
        difference = (net(lq, coord + move, cell) - net(lq, coord - move, cell)) / (2 * step)
        torch.testing.assert_close(gradient[..., axis], difference, rtol=1e-4, atol=1e-5)


def test_parts_of_bounded_memory_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    net, lq = small_thera(), torch.rand(1, 3, 9, 11)
    whole = net.render(lq, (23, 40))
    for limit in (1, 20_000):
        monkeypatch.setattr(memory, "CPU_MLP_BYTES", limit)
        torch.testing.assert_close(net.render(lq, (23, 40)), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("input_skip", ["nearest", None])
def test_mean_is_subtracted_and_added(input_skip: str | None) -> None:
    mean = [0.4488, 0.4371, 0.4040]
    net, lq = small_thera(mean=mean, input_skip=input_skip), torch.rand(1, 3, 4, 5)
    colors = torch.tensor(mean)[:, None, None]
    torch.testing.assert_close(net.encode(lq), net.encoder((lq - colors) / 0.5))
    torch.nn.init.zeros_(net.decoder.hyper.weight)
    nearest = lq.repeat_interleave(3, 2).repeat_interleave(3, 3) if input_skip else torch.zeros(1, 3, 12, 15)
    torch.testing.assert_close(net.render(lq, (12, 15)), nearest + colors, rtol=0, atol=1e-6)


def test_nearest_skip_of_other_networks() -> None:
    net, lq, size = small_thera(input_skip=None), torch.rand(2, 3, 5, 7), (12, 30)
    alone = net.render(lq, size)
    net.input_skip = "nearest"
    nearest = torch.nn.functional.interpolate(lq, size, mode="nearest-exact")
    torch.testing.assert_close(net.render(lq, size), alone - 0.5 + nearest, rtol=0, atol=1e-6)
    with torch.no_grad():
        queries = net(lq, make_coord(size).expand(2, -1, -1), make_cell(size).expand(2, 1, -1))
    torch.testing.assert_close(queries.mT.unflatten(2, size), alone - 0.5 + nearest, rtol=0, atol=1e-5)


# BasicSR's SwinIR calls meshgrid without `indexing`.
@pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")
@pytest.mark.parametrize("tail, num_freq, count", [
    (None, 32, 1_228_801),
    ({"type": "ConvNeXt"}, 512, 2_633_569),
    ({"type": "SwinIRTail"}, 512, 5_851_115),
], ids=["air", "plus", "pro"])  # fmt: skip
def test_sizes_of_the_paper(tail: dict[str, Any] | None, num_freq: int, count: int) -> None:
    """The official code with EDSR-baseline has the same numbers of parameters."""
    net = build_network({"type": "Thera", "encoder": {"type": "EDSR"}, "tail": tail, "num_freq": num_freq})
    assert sum(p.numel() for p in net.parameters()) == count
    assert net.receptive_radius == (None if count == 5_851_115 else 34 + 16 * bool(tail))


@pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")
def test_swinir_as_tail_sees_the_features() -> None:
    tail = {"type": "SwinIRTail", "window_size": 4, "embed_dim": 12, "depths": [2], "num_heads": [2]}
    net, lq, size = small_thera(tail=tail), torch.rand(1, 3, 9, 7), (20, 17)
    activations = [module for module in net.decoder.tail.modules() if isinstance(module, torch.nn.GELU)]
    assert activations and all(module.approximate == "tanh" for module in activations)  # as in Flax
    seen: list[torch.Tensor] = []
    net.decoder.tail.arch.conv_first.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        queries = net(lq, make_coord(size)[None], make_cell(size)[None, None])
    assert torch.equal(seen[0][..., :9, :7], net.encode(lq))
    torch.testing.assert_close(net.render(lq, size), queries.mT.unflatten(2, size), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kwargs, message", [
    ({"num_freq": 0}, "network_g: num_freq: expected an integer from 1 to 10000, got 0"),
    ({"mean": [0.5]}, r"network_g: mean: expected one number for each of the 3 channels, got \[0.5\]; .* set mean: ~"),
    ({"mean": [0.5] * 3, "num_out_ch": 1}, "network_g: mean: needs equal .* num_in_ch is 3 and num_out_ch is 1; set"),
    ({"input_skip": "cubic"}, "network_g: input_skip: expected .*nearest.*, got 'cubic'"),
    ({"tail": {"type": "ConvNext"}}, "network_g: tail: type: unknown encoder 'ConvNext'; did you mean 'ConvNeXt'?"),
    ({"tail": {"type": "ConvNeXt", "dims": [0]}}, "network_g: tail: dims: "),
    ({"tail": {"type": "ConvNeXt", "dims": []}}, "network_g: tail ConvNeXt: dims: expected at least one width"),
    ({"tail": {"type": "EDSR", "num_in_ch": 3}}, "network_g: tail: num_in_ch: is 3"),
])
def test_invalid_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(LIIFError, match=message):
        small_thera(**kwargs)
