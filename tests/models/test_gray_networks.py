"""Networks of one channel train, resume and validate on gray images."""
from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.models import build_model
from experiment import NETWORK, launch, make_images, train_options, val_set, write_options
from PIL import Image

import liif_basicsr
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.validation import measure, protocol_options
from liif_basicsr.metrics.psnr_liif import calculate_psnr_liif

GRAY_NETWORK = {**NETWORK, "num_in_ch": 1, "num_out_ch": 1}


def make_gray_images(folder: Path) -> Path:
    for path in make_images(folder, 4).iterdir():
        Image.open(path).convert("L").save(path)
    return folder


@pytest.mark.cpu
def test_train_resume_and_validate(tmp_path):
    images = make_gray_images(tmp_path / "images")
    options = train_options(images, total_iter=2, network_g=GRAY_NETWORK)
    options["datasets"]["train"]["channels"] = 1
    options["datasets"]["val"] = val_set("gray", images, [2], channels=1, protocol="benchmark")
    metrics = {"psnr": {"type": "calculate_psnr_liif"}, "ssim": {"type": "calculate_ssim", "crop_border": 2}}
    options["val"] = {"val_freq": 2, "save_img": True, "metrics": metrics}
    log = launch("train", write_options(tmp_path / "gray.yml", options), gpu=True)
    assert "psnr:" in log and "ssim:" in log
    options["train"]["total_iter"] = 4
    log = launch("train", write_options(tmp_path / "gray.yml", options), "--auto_resume", gpu=True)
    assert "Resuming training from epoch" in log and "iter:       4" in log

    folder = tmp_path / "experiments" / "tiny"
    saved = Image.open(folder / "visualization" / "gray_x2" / "p0_4.png")
    assert saved.mode == "L" and saved.size == (28, 24)
    net = liif_basicsr.load(folder / "models" / "net_g_4.pth")
    assert net.num_in_ch == net.num_out_ch == 1
    image = np.asarray(Image.open(images / "p0.png"))
    lq = torch.from_numpy(np.asarray(Image.fromarray(image).resize((14, 12), Image.Resampling.BICUBIC)).copy())
    expected = net.render(lq[None, None] / 255, (24, 28))[0, 0].clamp(0, 1).mul(255).numpy()
    assert np.abs(np.asarray(saved) - expected).max() < 0.6
    assert liif_basicsr.upscale(image, scale=2, model=net).shape == (48, 56)
    with pytest.raises(LIIFError, match="the image has 3 channels, the network takes 1"):
        liif_basicsr.upscale(image[..., None].repeat(3, 2), scale=2, model=net)
    with pytest.raises(LIIFError, match="strength: mixes with liif-fast"):
        liif_basicsr.upscale(image, scale=2, model=net, strength=0.5)


@pytest.mark.parametrize("network, channels, says", [
    (NETWORK, 1, "network_g: num_in_ch: is 3, but datasets: train: channels is 1"),
    (GRAY_NETWORK, 3, "network_g: num_in_ch: is 1, but datasets: train: channels is 3"),
    ({**NETWORK, "num_in_ch": 1, "input_skip": None}, 1, "network_g: num_out_ch: is 3, but datasets: train"),
])  # fmt: skip
def test_different_counts_are_refused(opt, network, channels, says):
    opt["network_g"] = network
    opt["datasets"]["train"]["channels"] = channels
    with pytest.raises(LIIFError, match=says):
        build_model(opt)


def test_teacher_of_other_channels_is_refused(opt):
    opt["network_g"] = GRAY_NETWORK
    opt["datasets"]["train"]["channels"] = 1
    opt["train"]["teacher"] = {"path": "liif-fast"}
    with pytest.raises(LIIFError, match="train: teacher: path: takes 3 channels, and network_g 1"):
        build_model(opt)


def test_metrics_of_gray_images():
    generator = torch.Generator("cpu").manual_seed(0)
    a, b = torch.rand(2, 1, 1, 20, 24, generator=generator, device="cpu")
    expected = -10 * math.log10((a - b)[..., 2:-2, 2:-2].double().square().mean())
    assert calculate_psnr_liif(a, b, 2, test_y_channel=True) == pytest.approx(expected)
    metrics = {"psnr": {"type": "calculate_psnr_liif"}, "pt": {"type": "calculate_psnr_pt", "crop_border": 2}}
    values = measure(a, b, metrics, protocol_options("benchmark", (2, 2)))
    assert values == pytest.approx([expected, expected], abs=1e-3)
    pixels = [(image[0, 0] * 255).round().byte().numpy() for image in (a, b)]
    assert calculate_psnr_liif(*pixels, 2) == pytest.approx(expected, abs=0.05)
