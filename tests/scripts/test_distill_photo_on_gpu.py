"""scripts/distill_photo_on_gpu.py: targets, windows, and a run of a few steps."""
from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from torch import nn

from liif_basicsr import load
from liif_basicsr.archs import build_network
from liif_basicsr.data.prepare.distillation import plain_image, with_colors_of
from liif_basicsr.hub import checkpoint

STUDENT = {"type": "ContinuousShuffleSR", "num_feat": 16, "num_basis": 4, "border": 2,
           "encoder": {"type": "RRDBNet", "num_feat": 8, "num_grow_ch": 4, "num_block": 2}}  # fmt: skip
TEACHER = {"type": "FixedScaleSR", "scale": 4,
           "arch": {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1}}  # fmt: skip
LQ = 26  # size of the inputs; the colors are blurred with a radius of 24 pixels
CPU = torch.device("cpu")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    module = importlib.import_module("distill_photo_on_gpu")
    window = module.Window(24, 2, 4, 0.5)
    for name, value in {"LQ_SIZE": LQ, "BATCH": 2, "CAPACITY": 12, "HELD_OUT": 4, "ADDED": 4, "STEPS_PER_ADDED": 2,
                        "WINDOWS": [window, window, module.Window(21, 1.75, 2, 0)]}.items():  # fmt: skip
        monkeypatch.setattr(module, name, value)
    return module


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 256, (8, 9, 3), np.uint8)
        Image.fromarray(pixels).resize((120, 110), Image.Resampling.BICUBIC).save(folder / f"{k}.png")
    return folder


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object, workers: int = 0) -> int:
    words = *words, "--device", "cpu", "--workers", workers
    monkeypatch.setattr(sys, "argv", ["distill_photo_on_gpu.py", *map(str, words)])
    return script.main()


def save_networks(folder: Path, start: dict[str, Any], teacher: dict[str, Any]) -> list[object]:
    """Save both networks, and return the options that name them."""
    for name, block in (("start", start), ("teacher", teacher)):
        checkpoint.save(folder / f"{name}.pth", {"network_g": block, "params": build_network(block).state_dict()})
    return ["--start", folder / "start.pth", "--teacher", folder / "teacher.pth"]


def pool(script: ModuleType, photographs: Path) -> Any:
    source = script.open_source(str(photographs), "disk")
    degradation = script.Degradation("jpeg:90", "test")
    crops = script.Crops(*(
        script.DistillationPairs(source, SimpleNamespace(scale=4), degradation, LQ, 0, share) for share in (0.0, 1.0)
    ))  # fmt: skip
    return script.PhotoPairs(crops, 0, 4, nn.Upsample(scale_factor=4), 4, 40, CPU)


def test_targets_have_the_colors_of_the_input(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    lq = plain_image(64, rng)
    output = np.clip(np.kron(lq, np.ones((4, 4, 1))) * 0.9 + rng.normal(0, 5, (256, 256, 3)), 0, 255).astype(np.uint8)
    lq_, output_ = (torch.from_numpy(image).permute(2, 0, 1)[None].float() for image in (lq, output))
    found = sys.modules["distilling.photo_pairs"].with_colors_of(lq_, output_)[0].permute(1, 2, 0)
    expected = torch.from_numpy(with_colors_of(lq, output)).float()
    assert (found.clamp(0, 255) - expected).abs().max() < 0.6  # the expected image is rounded
    assert (found.mean() - lq_.mean()).abs() < 0.2 < (output_.mean() - lq_.mean()).abs()


def test_windows_show_the_target_at_their_coordinates(script: ModuleType, photographs: Path) -> None:
    torch.manual_seed(0)
    pairs = pool(script, photographs)
    for _ in range(12):
        pairs.add()  # the newest replace the oldest
    assert pairs.made == 48 and pairs.filled == 40
    # An image that shows its own coordinates, (y, x, 1), in each orientation.
    y, x = np.mgrid[: 4 * LQ, : 4 * LQ] * 2 + 20
    pairs.target[:] = torch.from_numpy(np.stack((y, x, np.full_like(x, 255)))).byte()
    for window in (script.Window(24, 2, 4, 0.5), script.Window(24, 2, 2, 0), script.Window(4 * LQ, 4, 4, 1)):
        batch, plain = pairs.sample(60, window)
        assert 0 < plain.sum() < 60
        size = 2 / batch.cell
        assert (size > LQ * window.low - 1).all() and (size < LQ * window.high + 1).all()
        shown = (batch.gt[:, :2] * 255 - 20) / 2  # in pixels of the target
        coord = torch.stack(torch.broadcast_tensors(batch.rows[:, :, None], batch.cols[:, None]), 1)
        places = (coord + 1) * 2 * LQ - 0.5
        differences = torch.stack([
            (oriented - places)[..., 3:-3, 3:-3].abs().amax((1, 2, 3)) for flips in ((), (2,), (3,), (2, 3))
            for turned in (places, places.flip(1)) for oriented in [_flipped(shown, flips, turned, places)]
        ])  # fmt: skip
        assert differences.amin(0).max() < 0.3, "no orientation of the target fits"


def _flipped(shown: torch.Tensor, flips: tuple[int, ...], turned: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return the coordinates that an image shows, as if it had not been flipped and transposed."""
    shown = torch.stack([4 * LQ - 1 - shown[:, k] if k + 2 in flips else shown[:, k] for k in (0, 1)], 1)
    return shown if turned is places else shown.flip(1)


def test_corners_of_plain_images_are_drawn_more_often(script: ModuleType, photographs: Path) -> None:
    torch.manual_seed(0)
    pairs = pool(script, photographs)
    for _ in range(10):
        pairs.add()
    batch, plain = pairs.sample(2000, script.Window(24, 4, 4, 1))
    corner = ((batch.rows[:, 0] < -0.97) | (batch.rows[:, -1] > 0.97)) & (
        (batch.cols[:, 0] < -0.97) | (batch.cols[:, -1] > 0.97)
    )
    assert corner[plain].float().mean() > 0.4 and corner[~plain].float().mean() < 0.05


def test_training_saves_the_network_during_and_after_each_stage(
    script: ModuleType, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    words = save_networks(tmp_path, STUDENT, TEACHER)
    status = run(script, monkeypatch, photographs, tmp_path / "out.pth", *words, "--minutes", "0.05")
    assert status == 0
    assert "stage detail" in (out := capsys.readouterr().out) and "stage texture" in out
    assert out.count("saved out") == 4 and len(list(tmp_path.glob("out*.pth"))) >= 2
    start, end = (load(tmp_path / f"{name}.pth").state_dict() for name in ("start", "out"))
    assert any(not torch.equal(start[name], end[name]) for name in start)


@pytest.mark.parametrize(("option", "wrong", "message"), [
    ("--start", TEACHER, "--start: the network is a FixedScaleSR; start from a ContinuousShuffleSR"),
    ("--teacher", STUDENT, "--teacher: the network is a ContinuousShuffleSR; choose a FixedScaleSR"),
])  # fmt: skip
def test_networks_of_another_type_are_refused(
    script: ModuleType, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture, option: str, wrong: dict[str, Any], message: str,
) -> None:  # fmt: skip
    checkpoint.save(tmp_path / "wrong.pth", {"network_g": wrong, "params": build_network(wrong).state_dict()})
    assert run(script, monkeypatch, photographs, tmp_path / "out.pth", option, tmp_path / "wrong.pth") == 1
    assert message in capsys.readouterr().err


def test_small_photographs_are_refused(
    script: ModuleType, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(script, "LQ_SIZE", 64)
    checkpoint.save(tmp_path / "teacher.pth", {"network_g": TEACHER, "params": build_network(TEACHER).state_dict()})
    assert run(script, monkeypatch, photographs, tmp_path / "out.pth", "--teacher", tmp_path / "teacher.pth") == 1
    assert "no photograph has at least 256x256 pixels" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_corrupt_photograph_is_one_line(
    script: ModuleType, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture, workers: int,
) -> None:  # fmt: skip
    words = save_networks(tmp_path, STUDENT, TEACHER)
    for file in photographs.iterdir():
        file.write_bytes(file.read_bytes()[:200])
    status = run(script, monkeypatch, photographs, tmp_path / "out.pth", *words, workers=workers)
    error = capsys.readouterr().err.strip().splitlines()
    assert status == 1 and len(error) == 1
    assert str(photographs) in error[0] and "Traceback" not in error[0]
    assert not list(tmp_path.glob("out*"))
