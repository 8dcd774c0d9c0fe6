"""scripts/distill_on_gpu.py: pairs in memory, windows, larger networks, and a run of a few steps."""
from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from torch import nn

from liif_basicsr import load
from liif_basicsr.archs import build_network
from liif_basicsr.hub import checkpoint
from liif_basicsr.rendering.coordinates import make_cell, make_coord

STUDENT = {"type": "ContinuousShuffleSR", "encoder": {"type": "EDSR", "num_feat": 8, "num_block": 1}, "num_feat": 16,
           "border": 2}  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    module = importlib.import_module("distill_on_gpu")
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "DRAWINGS_IN_BATCH", 1)
    monkeypatch.setattr(module, "CAPACITY", 40)
    monkeypatch.setattr(module, "HELD_OUT", 1)
    monkeypatch.setattr(module, "SHAPES", [module.Shape(8, 10, 1.25, 4, (2,)), module.Shape(6, 12, 4, 8, (8,))])
    return module


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for k, size in enumerate([(330, 340), (320, 360), (300, 400)]):  # the last is too small
        y, x = np.mgrid[: size[0], : size[1]]
        pixels = np.stack((y / 2, x / 2, (x + y) / 3), axis=-1)
        Image.fromarray(pixels.round().astype(np.uint8)).save(folder / f"{k}.png")
    return folder


class Bilinear(nn.Module):
    """A teacher that returns its input, bilinearly interpolated."""

    def forward(self, lq: torch.Tensor, coord: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        picked = nn.functional.grid_sample(lq, coord.flip(-1)[:, None], "bilinear", "border", align_corners=False)
        return picked[:, :, 0].mT


def test_reduced_images_equal_pillows(script: ModuleType) -> None:
    pairs = sys.modules["distilling.pairs"]
    pixels = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    image = torch.zeros(2, 3, 320, 320)
    image[0] = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    image[1, :, :200, :200] = image[0, :, :200, :200]
    found = pairs.reduce(image, torch.tensor([320.0, 200.0]), torch.tensor([77.0, 131.0]), 140)
    for one, size, new in ((found[0], 320, 77), (found[1], 200, 131)):
        expected = Image.fromarray(pixels[:size, :size]).resize((new, new), Image.Resampling.BICUBIC)
        difference = one[:, :new, :new] - torch.from_numpy(np.array(expected)).permute(2, 0, 1)
        assert difference.abs().max() <= 1 and (difference != 0).float().mean() < 1e-3


@pytest.mark.parametrize("shape", [(8, 10, 1.25, 4, (2,)), (6, 12, 4, 8, (8,))])
def test_windows_lie_where_the_coordinates_say(
    script: ModuleType, photographs: Path, shape: tuple[Any, ...]
) -> None:
    torch.manual_seed(0)
    pool = script.Pairs(script.Shape(*shape), 40, script.Photographs(photographs, CPU), Bilinear())
    for _ in range(5):
        pool.add(16)  # the newest replace the oldest
    assert pool.made == 80 and pool.filled == 40
    batch = pool.sample(30)
    size = (2 / batch.cell).round()
    for name, places in (("rows", batch.rows), ("cols", batch.cols)):
        index = (places + 1) / batch.cell - 0.5
        assert (index - index.round()).abs().max() < 1e-3, name
        assert index.min() > -0.5 and (index < size).all()
        assert (places.diff(dim=1).abs() - batch.cell).abs().max() < 1e-5
    p = shape[1]
    coord = torch.stack((batch.rows[:, :, None].expand(-1, -1, p), batch.cols[:, None].expand(-1, p, -1)), -1)
    expected = Bilinear()(batch.lq, coord.flatten(1, 2), batch.cell).mT.unflatten(2, batch.gt.shape[2:])
    torch.testing.assert_close(batch.teacher, expected, rtol=0, atol=1e-3)  # float16, and any orientation
    torch.testing.assert_close(batch.gt, batch.teacher, rtol=0, atol=0.03)  # the photographs are smooth


def test_windows_are_decoded_as_by_queries(script: ModuleType) -> None:
    torch.manual_seed(0)
    net = build_network(STUDENT)
    nn.init.normal_(net.decoder.conv_last.weight)
    lq, size, top, left, p = torch.rand(1, 3, 7, 7), (23, 23), 3, 9, 12
    coord = make_coord(size).view(*size, 2)[top : top + p, left : left + p]
    batch = sys.modules["distilling.pairs"].Batch(
        lq, coord[:, 0, 0][None], coord[0, :, 1][None], torch.tensor([[2 / 23]]), lq, lq
    )
    expected = net.query(lq, coord.reshape(1, -1, 2), make_cell(size)[None, None])[0].T.view(1, 3, p, p)
    torch.testing.assert_close(script.decode_window(net, batch), expected, rtol=0, atol=2e-5)


def test_added_blocks_do_not_change_the_output(script: ModuleType) -> None:
    torch.manual_seed(0)
    net = build_network(STUDENT)
    block, params = script.grown(STUDENT, net.state_dict(), 3, 5)
    larger = build_network(block)
    larger.load_state_dict(params)
    assert len(larger.encoder.body) == 3 and len(larger.decoder.body) == 5
    lq = torch.rand(1, 3, 6, 5)
    torch.testing.assert_close(larger.render(lq, (13, 17)), net.render(lq, (13, 17)))
    assert script.grown(block, params)[0] == block
    with pytest.raises(script.LIIFError, match=r"more blocks or layers \(.*\) than requested; raise"):
        script.grown(block, params, 2, 5)
    with pytest.raises(script.LIIFError, match="the network is a LIIF; start from a ContinuousShuffleSR"):
        script.grown({**STUDENT, "type": "LIIF"}, params, 2, 5)


def test_squared_errors_follow_the_mean_psnr(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the teacher, the gradient equals the gradient of the mean logarithm of the errors."""
    torch.manual_seed(0)
    monkeypatch.setattr(script, "SMALL_ERROR", 0)
    gt = torch.rand(3, 3, 4, 4)
    output = (gt + torch.tensor([0.01, 0.1, 1])[:, None, None, None] * torch.randn_like(gt)).requires_grad_()
    batch = sys.modules["distilling.pairs"].Batch(gt, gt, gt, gt, torch.zeros_like(gt), gt)
    weights = torch.tensor([0.0, 1])[:, None].expand(-1, 3)
    (found,) = torch.autograd.grad(script.loss_of(batch, output, weights, "squared"), output)
    (expected,) = torch.autograd.grad((output - gt).square().mean((1, 2, 3)).log().mean(), output)
    torch.testing.assert_close(found, 40 * script.TYPICAL_ERROR * expected)


def test_steps_whose_gradients_overflow_are_skipped(script: ModuleType) -> None:
    torch.manual_seed(0)
    net = build_network(STUDENT)
    training = sys.modules["distilling.training"].Training(net, 0.5, "float32")
    training.lr.fill_(1e-3)
    factors = iter([1, float("inf"), 1])
    lq, coord, cell = torch.rand(1, 3, 6, 6), torch.zeros(1, 4, 2), torch.full((1, 1, 2), 0.1)
    step = training.stepper(lambda: net.query(lq, coord, cell).square().mean() * next(factors))
    states, skipped = [net.state_dict()["decoder.conv_last.bias"].clone()], []
    for _ in range(3):
        step()
        states.append(net.state_dict()["decoder.conv_last.bias"].clone())
        skipped.append(training.skipped.item())
    assert skipped == [0, 1, 1]
    assert [torch.equal(a, b) for a, b in itertools.pairwise(states)] == [False, True, False]


def test_a_new_stage_continues_from_the_moving_average(script: ModuleType) -> None:
    torch.manual_seed(0)
    net = build_network(STUDENT)
    training = sys.modules["distilling.training"].Training(net, 0.5, "float32")
    training.lr.fill_(1e-3)
    step = training.stepper(lambda: net.query(torch.ones(1, 3, 6, 6), torch.zeros(1, 4, 2), torch.ones(1, 1, 2)).sum())
    step()
    average, params = training.ema.state_dict(), net.state_dict()
    assert any(not torch.equal(average[name], params[name]) for name in params)
    training.start_again()
    assert all(torch.equal(average[name], params[name]) for name in params) and not training.optimizer.state


def test_clock_divides_the_time_between_filling_and_steps(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(sys.modules["distilling.training"].time, "monotonic", lambda: now[0])
    clock = script.Clock(minutes=1, fill=0.2)
    now[0] += 8  # loading
    for _ in clock.filling():
        now[0] += 5
    assert now[0] == 123  # 15 seconds: the first time after 12 seconds
    assert clock.share() == 0
    now[0] = 160
    assert clock.share() == 1
    for _ in clock.filling():  # at least once, and a share is defined even if the time is over
        now[0] += 50
    assert clock.share() <= 0
    now[0] += 1
    assert clock.share() > 1


def test_errors_of_drawings_are_weighted_differently(script: ModuleType) -> None:
    batch = sys.modules["distilling.pairs"].Batch(*[torch.zeros(2, 3, 2, 2)] * 4, torch.full((2, 3, 2, 2), 0.1),
                                                  torch.full((2, 3, 2, 2), 0.3))  # fmt: skip
    weights = torch.tensor([[1.0, 10], [2, 20]])
    assert script.loss_of(batch, batch.lq, weights, "l1").item() == pytest.approx((0.1 + 2 * 0.3 + 1 + 20 * 0.3) / 2)


@pytest.mark.parametrize("drawings", [False, True])
@pytest.mark.parametrize("minutes", ["0.02", "0"])  # with 0, the time is over before the first step
def test_training_goes_through_its_stages_and_saves_the_network(
    script: ModuleType, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture, minutes: str, drawings: bool,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    checkpoint.save(tmp_path / "start.pth", {"network_g": STUDENT, "params": build_network(STUDENT).state_dict()})
    words = [photographs, tmp_path / "out.pth", "--start", tmp_path / "start.pth", "--teacher", tmp_path / "start.pth",
             "--blocks", "2", "--layers", "3", "--device", "cpu", "--minutes", minutes]  # fmt: skip
    words += ["--drawings", photographs] * drawings
    monkeypatch.setattr(sys, "argv", ["distill_on_gpu.py", *map(str, words)])
    assert script.main() == 0
    assert (out := capfd.readouterr().out).count("end of stage") == 2
    assert ("2 + 2 images" in out) == drawings
    assert len(load(tmp_path / "out.pth").encoder.body) == 2


def test_folder_without_large_images_is_refused(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["distill_on_gpu.py", str(tmp_path), str(tmp_path / "out.pth"), "--device", "cpu"])
    assert script.main() == 1
    assert "has no image of at least 320x320 pixels" in capsys.readouterr().err
