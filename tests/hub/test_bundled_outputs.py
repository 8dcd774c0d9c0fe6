"""Outputs of the bundled models for flat images, gradients and noise."""
import pytest
import torch
import torch.nn.functional as F

import liif_basicsr
from liif_basicsr.hub import BUNDLED

SCALES = [1.3, 2.7, 4, 7]
SIDE = 48
STEP = 1 / 255
# Largest range of the output for a flat image, in 8-bit steps, including its border. The zero padding of liif-fast
# affects the border, and the corners most of all.
BORDER_STEPS = {"liif-photo": 2, "liif-fast": 5}


@pytest.fixture(scope="module", params=BUNDLED)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def net(name):
    return liif_basicsr.load(name)


def enlarged(net, lq, scale):
    size = round(SIDE * scale)
    return net.render(lq, (size, size)).clamp(0, 1)


def inner(scale):
    """Return an index that crops a border of six input pixels from the output."""
    border = round(6 * scale)
    return ..., slice(border, -border), slice(border, -border)


def flat(red, green, blue):
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1).expand(1, 3, SIDE, SIDE).contiguous()


def gradient():
    y, x = torch.meshgrid(torch.linspace(0.1, 0.9, SIDE), torch.linspace(0.1, 0.9, SIDE), indexing="ij")
    return torch.stack([x, y, (x + y) / 2])[None]


def noise():
    """Return a gray image with the noise of a sensor at high sensitivity."""
    generator = torch.Generator().manual_seed(0)
    return (0.5 + 0.04 * torch.randn(1, 3, SIDE, SIDE, generator=generator)).clamp(0, 1)


def night():
    """Return a dark gray image with noise in grains of 2x2 pixels, as demosaicing produces it."""
    generator = torch.Generator().manual_seed(0)
    grains = torch.randn(1, 3, SIDE // 2, SIDE // 2, generator=generator)
    return (0.14 + 0.035 * grains).repeat_interleave(2, 2).repeat_interleave(2, 3).clamp(0, 1)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("make", "steps"), [
    (lambda: flat(0.2, 0.5, 0.7), 1), (gradient, 1), (noise, 1), (night, 2),
    (lambda: flat(0.9, 0.4, 0.1), 1.5),  # more saturated than most photographs
])  # fmt: skip
def test_mean_color_is_kept(net, make, steps, scale):
    lq = make()
    shift = enlarged(net, lq, scale).mean((2, 3)) - lq.mean((2, 3))
    assert shift.abs().max() <= steps * STEP


@pytest.mark.parametrize("scale", SCALES)
def test_flat_image_stays_flat_without_a_checkerboard(name, net, scale):
    output = enlarged(net, flat(0.2, 0.5, 0.7), scale)
    for part, steps in ((output, BORDER_STEPS[name]), (output[inner(scale)], 2)):
        assert (part.amax((2, 3)) - part.amin((2, 3))).max() <= steps * STEP


@pytest.mark.parametrize("scale", SCALES)
def test_gradient_stays_smooth_without_seams(net, scale):
    lq = gradient()
    output = enlarged(net, lq, scale)
    expected = F.interpolate(lq, size=output.shape[-2:], mode="bilinear", align_corners=False)
    rest = (output - expected)[inner(scale)]
    assert rest.abs().max() <= 3 * STEP
    # Between neighboring pixels, a seam or a checkerboard would appear as a jump.
    assert max((rest.diff(dim=axis)).abs().max() for axis in (2, 3)) <= 1.5 * STEP
