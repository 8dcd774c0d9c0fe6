"""calculate_psnr_liif: hand-computed values, comparison with the plain formula, and invalid arguments."""
import math

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from hypothesis import given
from hypothesis import strategies as st

from liif_basicsr.errors import LIIFError
from liif_basicsr.metrics.psnr_liif import calculate_psnr_liif


def plain_psnr(img, img2, border, luma):
    """Compute the PSNR of arrays (3, H, W) in [0, 1] by its formula, in float64."""
    difference = np.asarray(img, np.float64) - np.asarray(img2, np.float64)
    if luma:
        difference = (difference * (np.array([65.738, 129.057, 25.064]) / 256)[:, None, None]).sum(0, keepdims=True)
    height, width = difference.shape[-2:]
    return -10 * math.log10((difference[:, border : height - border, border : width - border] ** 2).mean())


def test_hand_computed_values():
    img, img2 = torch.zeros(3, 4, 4), torch.full((3, 4, 4), 0.1)
    assert calculate_psnr_liif(img, img2) == pytest.approx(20)
    img2 = torch.zeros(3, 4, 4)
    img2[1] = 0.5  # only green differs: its error counts a third in RGB, and green's weight in luma
    assert calculate_psnr_liif(img, img2) == pytest.approx(10 * math.log10(12))
    assert calculate_psnr_liif(img, img2, test_y_channel=True) == pytest.approx(-20 * math.log10(0.5 * 129.057 / 256))


def test_the_border_is_ignored():
    img, img2 = torch.zeros(1, 3, 6, 7), torch.full((1, 3, 6, 7), 0.1)
    img2[..., 0, :] = img2[..., -1, :] = img2[..., :, 0] = img2[..., :, -1] = 0.9
    assert calculate_psnr_liif(img, img2, crop_border=1) == pytest.approx(20)
    assert calculate_psnr_liif(img, img2, crop_border=0) < 10


def test_psnr_of_equal_images_is_infinite():
    img = torch.rand(3, 5, 5)
    assert calculate_psnr_liif(img, img.clone()) == math.inf


def test_floats_are_clamped_but_not_rounded():
    gt = torch.full((3, 4, 4), 1.0)
    assert calculate_psnr_liif(gt + 0.5, gt) == math.inf
    assert calculate_psnr_liif(gt - 1e-4, gt) == pytest.approx(80, abs=1e-2)


def test_values_of_any_range():
    img, img2 = torch.full((2, 4, 4), -5.0), torch.full((2, 4, 4), -5.0)
    img2[1] += 2
    assert calculate_psnr_liif(img, img2, data_range=20) == pytest.approx(20 * math.log10(20) - 10 * math.log10(2))
    arrays = [np.moveaxis(image.numpy().astype(np.int16), 0, -1) for image in (img, img2)]
    assert calculate_psnr_liif(*arrays, data_range=20) == calculate_psnr_liif(img, img2, data_range=20)
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(LIIFError, match="data_range: expected a positive number"):
            calculate_psnr_liif(img, img2, data_range=wrong)


@pytest.mark.parametrize("shape", [(4, 6, 7), (1, 4, 6, 7)])
def test_single_bands_and_their_mean(shape):
    img, img2 = torch.rand(2, *shape)
    bands = [calculate_psnr_liif(img[..., k : k + 1, :, :], img2[..., k : k + 1, :, :], 1) for k in range(4)]
    assert [calculate_psnr_liif(img, img2, 1, band=k) for k in range(1, 5)] == pytest.approx(bands)
    assert calculate_psnr_liif(img, img2, 1, band="mean") == pytest.approx(sum(bands) / 4)
    assert calculate_psnr_liif(img, img2, 1, test_y_channel=True) == calculate_psnr_liif(img, img2, 1)
    for wrong in (0, 5, "nir"):
        with pytest.raises(LIIFError, match="band: expected a number from 1 to 4, or mean, got"):
            calculate_psnr_liif(img, img2, band=wrong)


def test_bands_of_arrays():
    """Arrays of three channels are BGR and are reversed; other numbers of bands keep their order."""
    img = np.zeros((6, 6, 4), np.uint8)
    img[..., 0] = 255
    four, bgr = ([calculate_psnr_liif(x, x * 0, band=k + 1) for k in range(3)] for x in (img, img[..., :3]))
    assert four == [0, math.inf, math.inf] and bgr == [math.inf, math.inf, 0]


@given(
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)), border=st.integers(0, 1), luma=st.booleans(),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_equals_the_plain_formula(size, border, luma, seed):
    img, img2 = np.random.default_rng(seed).random((2, 3, *size), dtype=np.float32)
    ours = calculate_psnr_liif(torch.from_numpy(img), torch.from_numpy(img2), border, luma)
    assert ours == pytest.approx(plain_psnr(img, img2, border, luma), abs=1e-9)


@pytest.mark.parametrize("luma", [False, True])
def test_8_bit_images_are_bgr_with_channels_last(luma):
    img, img2 = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), dtype=np.uint8)
    rgb, rgb2 = (x[..., ::-1].transpose(2, 0, 1) / 255 for x in (img, img2))
    opt = {"type": "calculate_psnr_liif", "crop_border": 2, "test_y_channel": luma}
    found = calculate_metric({"img": img, "img2": img2}, opt)  # finds the metric by its name in BasicSR
    assert found == pytest.approx(plain_psnr(rgb, rgb2, 2, luma), abs=1e-9)


@pytest.mark.parametrize(
    ("shape", "shape2", "border", "message"),
    [
        ((3, 6, 6), (3, 6, 7), 0, "different shapes"),
        ((3, 6, 6), (3, 6, 6), 3, r"border of 3 leaves no pixels of an image of shape \(3, 6, 6\); lower crop_border"),
        ((1, 3, 6, 20), (1, 3, 6, 20), 4, "border of 4 leaves no pixels"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(shape, shape2, border, message):
    with pytest.raises(LIIFError, match=message):
        calculate_psnr_liif(torch.zeros(shape), torch.zeros(shape2), crop_border=border)
