"""Networks of 1, 4 and 8 channels train, resume, validate and test in BasicSR's pipelines."""
from __future__ import annotations

import logging
import math
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import oracle
import pytest
import tifffile
import torch
import yaml
from basicsr.models import build_model
from experiment import NETWORK, ROOT, make_images, train_options, val_set
from PIL import Image

import liif_basicsr
from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.validation import measure, protocol_options
from liif_basicsr.hub import checkpoint
from liif_basicsr.launch import main
from liif_basicsr.metrics.psnr_liif import calculate_psnr_liif
from liif_basicsr.rendering.coordinates import make_cell, make_coord

RANGE = [-5.0, 20.0]
METRICS = {"basicsr": {"type": "calculate_psnr", "crop_border": 2}, "psnr": {"type": "calculate_psnr_liif"},
           "ssim": {"type": "calculate_ssim", "crop_border": 2}}  # fmt: skip


def network(channels: int) -> dict[str, Any]:
    skip = NETWORK["input_skip"] if channels > 1 else None
    return {**NETWORK, "num_in_ch": channels, "num_out_ch": channels, "input_skip": skip}


def values_of(channels: int, rgb: np.ndarray) -> np.ndarray:
    """Convert RGB to 16-bit luma, 4 float bands within RANGE, or 8 bands with 8 bits."""
    if channels == 1:
        return (rgb @ np.array([0.299, 0.587, 0.114]) * 257).round().astype(np.uint16)
    bands = np.concatenate([rgb, rgb[..., ::-1] // 2, rgb[..., :2] // 3], axis=-1)[..., :channels]
    low, high = RANGE
    return (low + bands / 255 * (high - low)).astype(np.float32) if channels == 4 else bands


def make_data(folder: Path, channels: int) -> Path:
    """Write two images. For one channel, they are parts of a photograph, otherwise smooth random images."""
    photograph = np.asarray(Image.open(ROOT / "assets" / "cat.png"))
    for left, path in zip((20, 70), make_images(folder, 2).iterdir(), strict=True):
        rgb = photograph[30:62, left : left + 32] if channels == 1 else np.asarray(Image.open(path))
        values = values_of(channels, rgb)
        path.unlink()
        if channels == 1:
            cv2.imwrite(str(path), values)
        elif channels == 4:
            tifffile.imwrite(path.with_suffix(".tif"), values, photometric="minisblack", planarconfig="contig")
        else:
            np.save(path.with_suffix(".npy"), values)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run BasicSR's pipeline with options and arguments, in a new folder."""
    import basicsr.train
    import basicsr.utils.options

    replaced = [(basicsr.train, "load_resume_state"), (basicsr.train, "build_dataloader"), (logging, "raiseExceptions"),
                (basicsr.train, "EnlargedSampler"), (basicsr.utils.options, "init_dist")]  # fmt: skip
    monkeypatch.chdir(tmp_path)

    def call(options: dict[str, Any], *args: str, is_train: bool = True) -> int:
        Path("options.yml").write_text(yaml.safe_dump(options))
        with monkeypatch.context() as context:
            for module, name in replaced:  # restored afterwards
                context.setattr(module, name, getattr(module, name))
            context.setattr(basicsr.utils.options, "open", open, raising=False)
            context.setattr(sys, "argv", ["run.py", "-opt", "options.yml", *args])
            return main(is_train)

    return call


@pytest.mark.cpu
@pytest.mark.parametrize("channels", [1, 4, 8])
def test_train_resume_validate_and_test(tmp_path, run, lines, channels):
    images = make_data(tmp_path / "images", channels)
    own = {"channels": channels, **({"value_range": RANGE} if channels == 4 else {})}
    options = train_options(images, total_iter=2, network_g=network(channels))
    options["datasets"]["train"] |= own
    options["datasets"]["val"] = val_set("bands", images, [2], protocol="benchmark", **own)
    psnr = {"psnr": {**METRICS["psnr"], "per_band": True}}
    options["val"] = {"val_freq": 2, "save_img": True, "metrics": {**METRICS, **psnr}}
    options["logger"]["use_tb_logger"] = True
    assert run(options) == 0
    options["train"]["total_iter"] = 4
    assert run(options, "--auto_resume") == 0
    assert any("Resuming training from epoch" in line for line in lines)
    bands = [*(f"psnr_band{k}" for k in range(1, channels + 1)), "psnr_mean"]
    assert curves(tmp_path / "tb_logger" / "tiny") >= {f"metrics/bands_x2/{name}" for name in [*METRICS, *bands]}
    folder = tmp_path / "experiments" / "tiny"
    saved = checkpoint.read(folder / "models" / "net_g_4.pth")
    assert saved["network_g"]["num_in_ch"] == channels and saved.get("value_range") == own.get("value_range")

    test_set = options["datasets"]["val"]
    testing = {key: options[key] for key in ("model_type", "num_gpu", "network_g")}
    testing |= {"name": "bands", "datasets": {"test_1": test_set}, "val": {"save_img": True, "metrics": METRICS}}
    testing["path"] = {"pretrain_network_g": str(folder / "models" / "net_g_4.pth"), "param_key_g": "params_ema"}
    assert run(testing, is_train=False) == 0
    assert "psnr" in (tmp_path / "results" / "bands" / "results.md").read_text()

    net = liif_basicsr.load(folder / "models" / "net_g_4.pth")
    dataset = build_dataset_of(test_set)
    with torch.no_grad():
        outputs = [net.render(item["lq"][None], item["gt"].shape[-2:]).clamp(0, 1) for item in dataset]
    scores = [measure(out, item["gt"][None], METRICS, protocol_options("benchmark", (2, 2)), channels == 8)
              for out, item in zip(outputs, dataset, strict=True)]  # fmt: skip
    row = (tmp_path / "results" / "bands" / "results.csv").read_text().splitlines()[1].split(",")[1:]
    basicsr, psnr, _ = found = [float(value) for value in row]
    assert found == pytest.approx(np.mean(scores, axis=0).tolist(), abs=1e-4)
    assert (abs(basicsr - psnr) < 1e-6) == (channels != 8)  # outputs are rounded for 8-bit data only
    low, high = own.get("value_range") or (0, 65535 if channels == 1 else 255)
    expected = low + array(outputs[0][0].permute(1, 2, 0)) * (high - low)
    image = read_image(folder / "visualization" / "bands_x2" / f"p0_4{'.png' if channels == 1 else '.tif'}")
    assert image.dtype == {1: np.uint16, 4: np.float32, 8: np.uint8}[channels]
    assert np.abs(image - expected).max() < (1e-4 if channels == 4 else 1)
    if channels == 1:
        equals_oracle(net.double(), dataset[0]["lq"].double())
    if channels == 4:
        options["datasets"]["train"]["value_range"] = [-5, 30]
        assert run(options, "--auto_resume") == 2


def curves(folder: Path) -> set[str]:
    """Return the names of the values logged to TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return set(EventAccumulator(str(folder)).Reload().Tags()["scalars"])


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.numpy(force=True)


def read_image(path: Path) -> np.ndarray:
    return tifffile.imread(path) if path.suffix == ".tif" else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., None]


def build_dataset_of(block: dict[str, Any]) -> Any:
    from basicsr.data import build_dataset

    return build_dataset({**block, "phase": "val"})


def equals_oracle(net: Any, lq: torch.Tensor) -> None:
    """Compare a gray network with the plain form of LIIF, with the same weights."""
    size = (7, 9)
    coord, cell = make_coord(size).double(), make_cell(size).double()
    with torch.no_grad():
        feat = net.encoder((lq[None] - 0.5) / 0.5)[0]
        output = array(net.sample(lq[None], coord[None], cell[None, None]))[0]
    layers = [(array(layer.weight), array(layer.bias)) for layer in net.decoder.layers]
    plain = oracle.decode(array(feat), layers, array(coord), array(cell.expand(len(coord), 2)))
    np.testing.assert_allclose(output, plain * 0.5 + 0.5, rtol=0, atol=1e-9)


def test_a_gray_network_refuses_other_images():
    net, image = build_network(network(1)).eval(), np.zeros((8, 9, 3), np.uint8)
    assert liif_basicsr.upscale(image[..., 0], scale=2, model=net).shape == (16, 18)
    with pytest.raises(LIIFError, match="has 3 (channels, the network|bands, but the model) takes 1"):
        liif_basicsr.upscale(image, scale=2, model=net)
    with pytest.raises(LIIFError, match="strength: mixes the model with liif-fast, .* maps 1 to 1; remove"):
        liif_basicsr.upscale(image[..., 0], scale=2, model=net, strength=0.5)


@pytest.mark.parametrize("block, channels, says", [
    (network(3), 1, "network_g: num_in_ch: is 3, but datasets: train: channels is 1"),
    (network(1), 3, "network_g: num_in_ch: is 1, but datasets: train: channels is 3"),
    ({**network(3), "num_in_ch": 1, "input_skip": None}, 1, "network_g: num_out_ch: is 3, but datasets: train"),
])  # fmt: skip
def test_different_counts_are_refused(opt, block, channels, says):
    opt["network_g"] = block
    opt["datasets"]["train"]["channels"] = channels
    with pytest.raises(LIIFError, match=says):
        build_model(opt)


def test_teacher_of_other_channels_is_refused(opt):
    opt["network_g"] = network(1)
    opt["datasets"]["train"]["channels"] = 1
    opt["train"]["teacher"] = {"path": "liif-fast"}
    with pytest.raises(LIIFError, match="train: teacher: path: the teacher takes 3 channels, but network_g takes 1;"):
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
