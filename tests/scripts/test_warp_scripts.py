"""scripts/warp_table.py and warp_figures.py."""
from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
from conftest import ROOT
from image_files import model, ramp
from PIL import Image

__all__ = ["model"]


@pytest.fixture
def script(tmp_path, monkeypatch, capsys):
    """Run a script in an empty folder; returns its exit status and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        status = importlib.import_module(name).main()
        return status, "".join(capsys.readouterr())

    return run


def test_the_table_has_a_row_per_task(script, model, tmp_path):
    (tmp_path / "in").mkdir()
    for k in range(2):
        noise = np.random.default_rng(k).integers(60, size=(80, 90, 3)) + ramp(80, 90)
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "in" / f"{k}.png")
    status, said = script("warp_table", model, "--sets", "mine=in", "--edge", 70, "--out", "t.md")
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert status == 0 and "| mine | rotated x2 | " in said and len(lines) == 4
    assert lines[0].endswith("| cv2 bicubic | cv2 Lanczos |")
    # Lanczos preserves more noise than bicubic.
    bicubic, lanczos = (float(cell.split("/")[0]) for cell in lines[3].split("|")[-3:-1])
    assert 20 < bicubic < lanczos < 60


def test_scores_ignore_pixels_outside_the_mask(script, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    table = importlib.import_module("warp_table")
    pixels = ramp(40, 40)
    seen = np.pad(np.ones((24, 24), bool), 8)
    outer = pixels.copy()
    outer[:2] = 0
    nearly = np.clip(outer.astype(float) + 1, 0, 255)
    found = table.scores(nearly, pixels, seen)
    assert found.psnr == pytest.approx(20 * np.log10(255 / np.sum(table.LUMA)), abs=1e-6) and found.ssim > 0.99


@pytest.mark.parametrize("channel, weight", [(0, 65.738 / 256), (1, 129.057 / 256), (2, 25.064 / 256)])
def test_scores_weight_the_channels_as_luma(script, channel, weight):
    pixels = ramp(40, 40)
    other = pixels.astype(float)
    other[..., channel] += 1
    found = importlib.import_module("warp_table").scores(other, pixels, np.ones((40, 40), bool))
    assert found.psnr == pytest.approx(20 * np.log10(255 / weight), abs=1e-6)


@pytest.mark.parametrize("words, says", [
    (["--sets", "none"], "none: no images"), (["--sets", "small"], "at least"),
    (["--sets", "none", "--out", "t.x"], "t.x"),
])  # fmt: skip
def test_bad_input_is_one_line(script, model, tmp_path, words, says):
    (tmp_path / "small").mkdir()
    Image.fromarray(ramp(20, 20)).save(tmp_path / "small" / "a.png")
    status, said = script("warp_table", model, *words)
    assert status == 1 and says in said


def test_a_page_is_rectified(script, model, tmp_path):
    status, said = script("warp_figures", "page", "--out", "page.png")
    assert status == 0
    quad = said.split("--quad ")[1].split()
    status, _ = script("warp_figures", "sheet", "--image", "page.png", "--quad", *quad, "--model", model,
                       "--region", "0,0,100,120", "--out", "sheet.png")  # fmt: skip
    cv2_panel = np.asarray(Image.open(tmp_path / "sheet.png").crop((0, 22, 120, 122)))
    assert status == 0 and cv2_panel.mean() > 200  # paper, not the desk
