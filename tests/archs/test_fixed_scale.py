"""FixedScaleSR equals the architecture at its own scale. At other scales, it equals that output resized with Pillow."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from datafiles import refused
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from liif_basicsr.archs import build_network
from liif_basicsr.archs.fixed_scale_arch import FixedScaleSR
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.coordinates import make_cell, make_coord
from liif_basicsr.rendering.memory import Tiling

RRDB = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "num_grow_ch": 4}
SRVGG = {"type": "SRVGGNetCompact", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_conv": 2}
SWIN = {"type": "SwinIR", "img_size": 8, "window_size": 8, "embed_dim": 12, "depths": [2], "num_heads": [2],
        "mlp_ratio": 2, "upsampler": "pixelshuffledirect", "upscale": 2, "img_range": 1.0}  # fmt: skip
EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 3}
ARCHS = [(RRDB, 4, 1), ({**RRDB, "scale": 2}, 2, 2), ({**SRVGG, "upscale": 2}, 2, 1), (SWIN, 2, 8), (EDSR, 3, 1)]

# BasicSR's SwinIR calls meshgrid without `indexing`.
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")


def network(arch: dict[str, Any] = RRDB, **arguments: Any) -> FixedScaleSR:
    torch.manual_seed(0)
    return FixedScaleSR(arch, **arguments).eval()


@pytest.mark.parametrize(("arch", "scale", "multiple"), ARCHS, ids=lambda v: v["type"] if isinstance(v, dict) else None)
def test_own_scale_equals_the_architecture(arch, scale, multiple):
    net = network(arch)
    assert (net.scale, net.encoder.multiple) == (scale, multiple)
    lq = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        expected = net.arch(lq)
        output = net(lq)
    assert output.shape == (2, 3, 16 * scale, 24 * scale)
    assert torch.allclose(output, expected, atol=2e-6)


@pytest.mark.parametrize(("arch", "scale", "multiple"), ARCHS, ids=lambda v: v["type"] if isinstance(v, dict) else None)
def test_any_input_size(arch, scale, multiple):
    net = network(arch)
    for size in ((1, 1), (7, 13), (17, 8)):
        assert net(torch.rand(1, 3, *size).requires_grad_(True)).shape == (1, 3, size[0] * scale, size[1] * scale)


@given(height=st.integers(1, 60), width=st.integers(1, 60))
def test_other_sizes_equal_pillow_bicubic(height, width):
    net = network()
    lq = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        own = net(lq)[0].numpy(force=True)
    bicubic = Image.Resampling.BICUBIC  # torch's bicubic differs for images that are one pixel wide
    expected = np.stack([Image.fromarray(channel).resize((width, height), bicubic) for channel in own])
    assert np.allclose(net.render(lq, (height, width))[0].numpy(force=True), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(36, 44), (20, 13), (9, 11), (50, 70)])
def test_queries_equal_the_rendered_image(size):
    net = network()
    lq = torch.rand(2, 3, 9, 11)
    with torch.no_grad():
        coord, cell = make_coord(size).expand(2, -1, -1), make_cell(size).expand(2, 1, -1)
        colors = net(lq, coord, cell).mT.unflatten(2, size)
    assert torch.allclose(colors, net.render(lq, size), atol=2e-6)


def test_queries_with_different_cells():
    net = network()
    lq = torch.rand(1, 3, 8, 8)
    sizes = [(32, 32), (8, 8), (11, 20)]
    coord = torch.cat([make_coord(size) for size in sizes])[None]
    cell = torch.cat([make_cell(size).expand(size[0] * size[1], 2) for size in sizes])[None]
    with torch.no_grad():
        together = net(lq, coord, cell)[0]
        apart = torch.cat([net.render(lq, size)[0].flatten(1).mT for size in sizes])
    assert torch.allclose(together, apart, atol=2e-6)


def test_gradients_of_the_architecture_and_the_input():
    net = network()
    lq = torch.rand(1, 3, 6, 6, requires_grad=True)
    net(lq, make_coord((10, 10))[None], make_cell((10, 10))[None, None]).sum().backward()
    assert lq.grad is not None and lq.grad.abs().sum() > 0
    assert all(param.grad is not None for param in net.arch.parameters())


def test_tiles_and_windows_are_exact(monkeypatch):
    net = network(SRVGG | {"upscale": 2}, halo=8)
    lq = torch.rand(1, 3, 40, 37)
    whole = {size: net.render(lq, size) for size in ((80, 74), (61, 100))}
    monkeypatch.setattr(memory, "CACHED_TILE", 16)
    net.tiling = Tiling(12, 50 * 4 * net.decoder.floats_per_pixel)
    for size, expected in whole.items():
        assert torch.allclose(net.render(lq, size), expected, atol=2e-6)
        assert torch.allclose(net.render(lq, size, (13, 20, 30, 31)), expected[..., 13:43, 20:51], atol=2e-6)
        encoded = net.encode_image(lq)
        assert torch.allclose(encoded.render(size, (13, 20, 30, 31)), expected[..., 13:43, 20:51], atol=2e-6)


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        ({"arch": {**RRDB, "type": "RRDB"}}, ["'RRDB'", "did you mean 'RRDBNet'"]),
        ({"arch": {**RRDB, "num_feats": 3}}, ["RRDBNet", "num_feats"]),
        ({"arch": RRDB, "scale": 2}, ["RRDBNet", "upscales by 4, not 2; leave scale out"]),
        ({"arch": {**RRDB, "num_in_ch": 1}}, ["RRDBNet: num_in_ch: is 1, but network_g takes 3 channels"]),
        ({"arch": {"type": "MSRResNet", "num_feat": 4}, "num_in_ch": 4}, ["MSRResNet: num_in_ch: is 3, but"]),
        ({"arch": {**RRDB, "num_out_ch": 1}}, ["RRDBNet", "an output of 3 channels whose size is an integer multiple"]),
        ({"arch": {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 4}}, ["VGGStyleDiscriminator"]),
        ({"arch": RRDB, "halo": -1}, ["halo"]),
        ({"arch": "RRDBNet"}, ["arch", "RRDBNet"]),
    ],
)
def test_invalid_blocks(block, parts):
    refused(lambda: build_network({"type": "FixedScaleSR", **block}), "network_g", *parts)
