"""Degradations equal BasicSR's, depend only on their seed, and refuse invalid options."""
from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import degradations as theirs
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.utils import DiffJPEG
from datafiles import smooth_image
from hypothesis import given
from hypothesis import strategies as st

from liif_basicsr.data.decode import to_image_tensor
from liif_basicsr.data.degradations import DEGRADATIONS, Degradation, seed_of, seeded
from liif_basicsr.data.degradations.jpeg import compress_jpeg
from liif_basicsr.data.sampling import downsample
from liif_basicsr.errors import LIIFError

MIX = {"type": "mix", "parts": ["photo", {"type": "realesrgan", "clean_prob": 0.5}, "jpeg:40"], "part_prob": [3, 1, 1]}
BLOCKS: list[Any] = [*(name for name in DEGRADATIONS if name != "mix"), MIX]


# BasicSR's own ------------------------------------------------------------------------------------------------


def kernel_of_basicsr(opt: dict[str, Any], end: str) -> np.ndarray:
    """Draw a kernel as RealESRGANDataset does."""
    size = random.choice([2 * v + 1 for v in range(3, 11)])
    if np.random.uniform() < opt[f"sinc_prob{end}"]:
        omega = np.random.uniform(np.pi / 3, np.pi) if size < 13 else np.random.uniform(np.pi / 5, np.pi)
        kernel = theirs.circular_lowpass_kernel(omega, size, pad_to=False)
    else:
        kernel = theirs.random_mixed_kernels(
            opt[f"kernel_list{end}"], opt[f"kernel_prob{end}"], size, opt[f"blur_sigma{end}"], opt[f"blur_sigma{end}"],
            [-np.pi, np.pi], opt[f"betag_range{end}"], opt[f"betap_range{end}"], noise_range=None,
        )  # fmt: skip
    return np.pad(kernel, (21 - size) // 2)


def degraded_by_basicsr(image: np.ndarray, scale: int, opt: dict[str, Any], seed: int) -> np.ndarray:
    """Degrade an image with RealESRGANModel itself, on the CPU, without sharpening."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    gt = to_image_tensor(image)[None]
    data = {"gt": gt, **{f"kernel{n}": torch.FloatTensor(kernel_of_basicsr(opt, end))[None]
                         for n, end in ((1, ""), (2, "2"))}}  # fmt: skip
    pulse = np.zeros((21, 21))
    pulse[10, 10] = 1
    if np.random.uniform() < opt["final_sinc_prob"]:
        size = random.choice([2 * v + 1 for v in range(3, 11)])
        pulse = theirs.circular_lowpass_kernel(np.random.uniform(np.pi / 3, np.pi), size, pad_to=21)
    data["sinc_kernel"] = torch.FloatTensor(pulse)[None]
    model = SimpleNamespace(
        is_train=True, device=torch.device("cpu"), usm_sharpener=lambda x: x, jpeger=DiffJPEG(differentiable=False),
        opt={**opt, "scale": scale, "gt_size": min(image.shape[:2])}, _dequeue_and_enqueue=lambda: None,
    )  # fmt: skip
    RealESRGANModel.feed_data(model, data)  # type: ignore[arg-type]
    return (model.lq[0] * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_realesrgan_equals_basicsrs_model(scale):
    image, degradation = smooth_image(96, 96), Degradation("realesrgan")
    for seed in range(12):
        expected = degraded_by_basicsr(image, scale, degradation.settings, seed)
        assert np.array_equal(degradation(image, (96 // scale, 96 // scale), seed), expected)


def test_realesrgan_equals_basicsrs_model_with_other_options():
    changes = {
        "sinc_prob": 0.9, "sinc_prob2": 1, "final_sinc_prob": 0, "resize_prob": [1, 0, 0], "resize_prob2": [0, 1, 0],
        "resize_range": [0.5, 2], "gaussian_noise_prob": 1, "gray_noise_prob": 1, "gaussian_noise_prob2": 0,
        "second_blur_prob": 1, "jpeg_range": [10, 20], "jpeg_range2": [50, 50],
    }  # fmt: skip
    image, degradation = smooth_image(80, 80, 1), Degradation({"type": "realesrgan", **changes})
    for seed in range(6):
        expected = degraded_by_basicsr(image, 2, degradation.settings, seed)
        assert np.array_equal(degradation(image, (40, 40), seed), expected)


@pytest.mark.parametrize("quality", [5, 60, 100])
def test_jpeg_equals_basicsrs_compression(quality):
    image = smooth_image(37, 50)
    expected = theirs.add_jpg_compression(image[..., ::-1] / np.float32(255), quality)[..., ::-1] * 255
    assert np.array_equal(compress_jpeg(image, quality), expected.round().astype(np.uint8))


def test_photo_equals_basicsrs_functions():
    block = {"type": "photo", "blur_prob": 1, "sinc_prob": 0, "gaussian_noise_prob": 1, "jpeg_range": [70, 70]}
    image, degradation = smooth_image(90, 60), Degradation({**block, "blur_kernel_size": 21})
    s = degradation.settings
    ours = degradation(image, (45, 30), 7)
    with seeded(7):
        np.random.uniform()  # draws whether to blur
        kernel = kernel_of_basicsr(s, "")
        small = downsample(image, (45, 30)) / np.float32(255)
        blurred = torch.from_numpy(cv2.filter2D(small, -1, kernel.astype(np.float32))).permute(2, 0, 1)[None]
        np.random.uniform()  # draws the type of noise
        noisy = theirs.random_add_gaussian_noise_pt(blurred, s["noise_range"], s["gray_noise_prob"])
    expected = (noisy[0] * 255).round().byte().permute(1, 2, 0).numpy()
    # Two implementations of the convolution may round differently.
    difference = np.abs(ours.astype(int) - compress_jpeg(np.ascontiguousarray(expected), 70))
    assert np.mean(difference > 0) < 0.02 and difference.max() <= 8


# Seeds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_results_depend_on_the_seed_alone(block):
    image, degradation = smooth_image(70, 65), Degradation(block)
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    before = random.random(), np.random.random(), torch.rand(())
    first = degradation(image, (33, 21), 5)
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    again = Degradation(degradation.settings)(image, (33, 21), 5)
    assert np.array_equal(first, again)
    assert before == (random.random(), np.random.random(), torch.rand(()))
    assert len({degradation(image, (33, 21), seed).tobytes() for seed in range(8)}) > 4


def test_clean_prob():
    image = smooth_image(40, 40)
    clean = downsample(image, (20, 20))
    for prob, low, high in ((0, 0, 0), (0.3, 60, 120), (1, 300, 300)):
        degradation = Degradation({"type": "jpeg", "jpeg_range": [10, 10], "clean_prob": prob})
        same = sum(np.array_equal(degradation(image, (20, 20), seed), clean) for seed in range(300))
        assert low <= same <= high


def test_mix_draws_parts_by_their_probability():
    image = smooth_image(32, 32)
    mix = Degradation({"type": "mix", "parts": ["jpeg:90", "jpeg:10"], "part_prob": [1, 3]})
    high = Degradation("jpeg:90")(image, (32, 32), 0)
    share = np.mean([np.array_equal(mix(image, (32, 32), seed), high) for seed in range(400)])
    assert 0.17 < share < 0.33


def test_validation_seed_depends_on_the_file_name_alone():
    assert seed_of("a/b/kodim01.png") == seed_of("kodim01") == seed_of("/other/kodim01.jpg") != seed_of("kodim02.png")


# Sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS, ids=str)
@given(h=st.integers(1, 40), w=st.integers(1, 40), scale=st.floats(1, 4), seed=st.integers(0, 2**40))
def test_output_size(block, h, w, scale, seed):
    image = smooth_image(round(h * scale), round(w * scale))
    out = Degradation(block)(image, (h, w), seed)
    assert out.shape == (h, w, 3) and out.dtype == np.uint8


def test_camera_darkens():
    image = smooth_image(128, 128)
    degradation = Degradation({"type": "camera", "dark_prob": 1, "exposure_range": [0.49, 0.51]})
    out = degradation(image, (64, 64), 0)
    assert np.abs(out.mean((0, 1)) / image.mean((0, 1)) - 0.5).max() < 0.03


@pytest.mark.parametrize("block", [b if b != "camera" else {"type": b, "dark_prob": 0} for b in BLOCKS], ids=str)
def test_mean_color_is_kept(block):
    image = smooth_image(128, 128)
    degradation = Degradation(block)
    means = [degradation(image, (64, 64), seed).mean((0, 1)) for seed in range(20)]
    assert np.abs(np.mean(means, axis=0) - image.mean((0, 1))).max() < 2


# Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        ("photos", ["type: unknown degradation 'photos'", "did you mean 'photo'"]),
        ({"clean_prob": 1}, ["type: unknown degradation None", "realesrgan"]),
        (["photo"], ["expected a block"]),
        ({"type": "photo", "noise_rang": [1, 2]}, ["noise_rang", "did you mean 'noise_range'"]),
        ({"type": "jpeg", "jpeg_range": [0, 50]}, ["jpeg_range", "from 1 to 100"]),
        ({"type": "jpeg", "jpeg_range": [60, 101]}, ["jpeg_range", "from 1 to 100"]),
        ({"type": "jpeg", "jpeg_range": [60, 30]}, ["jpeg_range", "in ascending order"]),
        ({"type": "realesrgan", "blur_sigma2": [2, 2]}, ["blur_sigma2", "different numbers"]),
        ({"type": "realesrgan", "resize_range": [0.2, 0.8]}, ["resize_range", "at most 1", "highest at least 1"]),
        ({"type": "realesrgan", "resize_prob": [0.5, 0.5]}, ["resize_prob", "3 probabilities"]),
        ({"type": "realesrgan", "kernel_list": ["iso"]}, ["kernel_prob", "6 numbers", "1 kernels"]),
        ({"type": "realesrgan", "kernel_list2": ["round"]}, ["kernel_list2", "plateau_iso"]),
        ({"type": "realesrgan", "kernel_prob": [0] * 6}, ["kernel_prob", "above 0"]),
        ({"type": "realesrgan", "blur_kernel_size": 8}, ["blur_kernel_size", "odd"]),
        ({"type": "photo", "clean_prob": 1.5}, ["clean_prob", "from 0 to 1"]),
        ({"type": "mix", "parts": ["photo"], "part_prob": [1, 2]}, ["parts", "part_prob"]),
        ({"type": "mix", "parts": ["foto"], "part_prob": [1]}, ["parts: 1", "did you mean 'photo'"]),
        ("jpeg:0", ["jpeg_range", "from 1 to 100"]),
        ("jpeg:x", ["jpeg:x", "jpeg:30-90"]),
        ("photo:60", ["photo:60", "jpeg:30-90"]),
    ],
)
def test_invalid_blocks(block, parts):
    with pytest.raises(LIIFError) as caught:
        Degradation(block, "datasets: Photos: degradation")
    line = str(caught.value)
    assert line.startswith("datasets: Photos: degradation: ") and "\n" not in line
    for part in parts:
        assert part in line, line


def test_short_forms():
    assert Degradation("jpeg:60").settings == Degradation({"type": "jpeg", "jpeg_range": [60, 60]}).settings
    assert Degradation("jpeg:30-90").settings["jpeg_range"] == [30, 90]
    assert Degradation("photo").settings == Degradation({"type": "photo"}).settings
