"""PixelShuffleSR equals BasicSR's EDSR at its own scale. At others, it equals that output resized with Pillow."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiling import assert_tiling_is_exact

from liif_basicsr.archs import build_network
from liif_basicsr.archs.pixelshuffle_arch import PixelShuffleSR
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.rendering.coordinates import make_cell, make_coord

SCALES = [2, 3, 4, 8]


def small(scale=2, **encoder):
    torch.manual_seed(0)
    return PixelShuffleSR({"type": "EDSR", "num_feat": 6, "num_block": 1, **encoder}, scale)


def resized(image, size):
    """Resize (3, h, w) to (3, H, W) with Pillow's bicubic filter in floating point."""
    planes = [Image.fromarray(plane.numpy(force=True)) for plane in image]
    return torch.tensor(np.stack([plane.resize(size[::-1], Image.Resampling.BICUBIC) for plane in planes]))


@pytest.mark.parametrize("scale", SCALES)
def test_own_scale_equals_basicsr_edsr(scale):
    from basicsr.archs.edsr_arch import EDSR

    net = small(scale)
    theirs = EDSR(3, 3, num_feat=6, num_block=1, upscale=scale, img_range=2, rgb_mean=(0.5, 0.5, 0.5))
    theirs.load_state_dict(dict(zip(theirs.state_dict(), net.state_dict().values(), strict=True)))
    lq = torch.rand(2, 3, 7, 5)
    image = net(lq)
    torch.testing.assert_close(image, theirs(lq), rtol=0, atol=2e-6)
    torch.testing.assert_close(net.render(lq, (7 * scale, 5 * scale)), image, rtol=0, atol=2e-6)
    image.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [(14, 10), (31, 17), (57, 41), (9, 40), (3, 4), (1, 1)], ids=str)
def test_other_scales_equal_pillow_bicubic(scale, size):
    net, lq = small(scale), torch.rand(1, 3, 7, 5)
    own = net.render(lq, (7 * scale, 5 * scale))[0]
    torch.testing.assert_close(net.render(lq, size)[0], resized(own, size), rtol=0, atol=1e-5)


@settings(max_examples=20)
@given(data=st.data(), scale=st.sampled_from(SCALES), tile=st.integers(1, 12), block=st.integers(1, 40))
def test_tiles_blocks_and_windows_are_exact(data, scale, tile, block):
    assert_tiling_is_exact(small(scale), data, tile, block)


@pytest.mark.parametrize("size", [(14, 10), (40, 31)], ids=str)
def test_encoded_image_and_bfloat16(size):
    net, lq = small(), torch.rand(1, 3, 7, 5)
    torch.testing.assert_close(net.encode_image(lq).render(size), net.render(lq, size), rtol=0, atol=2e-6)
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        half = net.render(lq, size)
    torch.testing.assert_close(half, net.render(lq, size), rtol=0, atol=2e-2)


def test_queries_at_pixel_centers():
    net, lq = small(3), torch.rand(2, 3, 4, 5)
    own = net.render(lq, (12, 15))
    coord, cell = make_coord((12, 15)).expand(2, -1, -1), make_cell((12, 15)).expand(2, 1, 2)
    torch.testing.assert_close(net(lq, coord, cell).mT.unflatten(2, (12, 15)), own, rtol=0, atol=2e-6)


# Numbers of parameters in the official code. Its EDSR has 24 more, in two mean shifts that it does not use.
COUNTS = {
    ("EDSR", 2): 1_369_859, ("EDSR", 3): 1_554_499, ("EDSR", 4): 1_517_571, ("EDSR", 8): 1_665_283,
    ("RDN", 2): 22_123_395, ("RDN", 3): 22_308_035, ("RDN", 4): 22_271_107,
}  # fmt: skip


@pytest.mark.parametrize(("encoder", "scale"), COUNTS)
def test_number_of_parameters(encoder, scale):
    with torch.device("meta"):
        net = PixelShuffleSR({"type": encoder}, scale)
    assert sum(p.numel() for p in net.parameters()) == COUNTS[encoder, scale]


def test_checkpoint_restores_the_network(tmp_path):
    block = {"type": "PixelShuffleSR", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1}, "scale": 3}
    net = build_network(block)
    checkpoint.save(tmp_path / "net.pth", {"network_g": block, "params": net.state_dict()})
    again, lq = checkpoint.load(tmp_path / "net.pth"), torch.rand(1, 3, 5, 6)
    assert again.scale == 3 and torch.equal(again(lq), net.render(lq, (15, 18)))


@pytest.mark.parametrize("scale", [0, 1, 5, 6, True, "2", None])
def test_invalid_scales(scale):
    with pytest.raises(LIIFError, match="network_g: scale: expected one of 2, 3, 4, 8"):
        small(scale)
