"""scripts/figures.py: sheets of crops, and PSNR against scale."""
from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from datafiles import noise_image, save
from experiment import NETWORK, make_images
from PIL import Image

from liif_basicsr import load
from liif_basicsr.archs import build_network
from liif_basicsr.data.degradations import Degradation, seed_of
from liif_basicsr.hub import checkpoint

pytest.importorskip("matplotlib")
HEIGHT, WIDTH = 40, 48
Figures = Callable[..., str]


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Figures:
    """Run the command in an empty folder with a network `net.pth`; returns its output."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.chdir(tmp_path)
    script = importlib.import_module("figures")
    checkpoint.save("net.pth", {"params": build_network(NETWORK).state_dict(), "network_g": NETWORK})

    def run(*args: object, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["figures.py", *map(str, args)])
        assert script.main() == status
        said = capsys.readouterr()
        return said.err if status else said.out

    return run


@pytest.mark.parametrize("columns", [None, 3, 1])
def test_a_sheet_shows_each_image_under_its_label(figures: Figures, columns: int | None) -> None:
    """Compare the pixels of each panel: input, bicubic, network, original."""
    gt = noise_image(HEIGHT, WIDTH)
    save(Path("photo.png"), gt)
    top, left, height, width = 4, 8, 20, 32
    args = ["--image", "photo.png", "--scale", 4, "--model", "mine=net.pth", "--region", "4,8,20,32", "--zoom", 2]
    said = figures("sheet", *args, *(["--columns", columns] if columns else []), "--out", "sheet.png")
    assert said.startswith("sheet.png: input, x4 smaller, bicubic, ") and "mine, " in said
    low = Image.fromarray(gt).resize((12, 10), Image.Resampling.BICUBIC)
    lq = torch.from_numpy(np.array(low)).permute(2, 0, 1)[None] / 255
    net = (load("net.pth").render(lq, (HEIGHT, WIDTH))[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    enlarged = [np.asarray(low.resize((WIDTH, HEIGHT), Image.Resampling[f])) for f in ("NEAREST", "BICUBIC")]
    page, columns = np.asarray(Image.open("sheet.png")), columns or 4
    for number, whole in enumerate([*enlarged, net, gt]):
        part = whole[top : top + height, left : left + width].repeat(2, 0).repeat(2, 1)
        y, x = number // columns * (2 * height + 22) + 22, number % columns * (2 * width + 6)
        assert np.array_equal(page[y : y + 2 * height, x : x + 2 * width], part), number
    assert page.shape == (-(-4 // columns) * (2 * height + 22), columns * (2 * width + 6) - 6, 3)


def test_a_sheet_degrades_as_in_validation(figures: Figures) -> None:
    gt = noise_image(HEIGHT, WIDTH)
    save(Path("photo.png"), gt)
    figures("sheet", "--image", "photo.png", "--scale", 4, "--degradation", "photo", "--out", "sheet.png")
    low = Degradation("photo")(gt, (10, 12), seed_of("photo.png")).repeat(4, 0).repeat(4, 1)
    assert np.array_equal(np.asarray(Image.open("sheet.png"))[22 : 22 + HEIGHT, :WIDTH], low)


def test_a_sheet_has_a_row_for_each_scale(figures: Figures) -> None:
    save(Path("photo.png"), noise_image(HEIGHT, WIDTH))
    args = ["sheet", "--image", "photo.png", "--model", "net.pth", "--degradation", "jpeg:60"]
    figures(*args, "--scale", 2, 3.5, "--out", "both.png")
    pages = []
    for scale in (2, 3.5):
        figures(*args, "--scale", scale, "--out", "one.png")
        pages.append(np.asarray(Image.open("one.png")))
    assert np.array_equal(np.asarray(Image.open("both.png")), np.concatenate(pages))


def test_a_sheet_of_degradations(figures: Figures) -> None:
    gt = noise_image(HEIGHT, WIDTH)
    save(Path("photo.png"), gt)
    args = ["degradations", "jpeg:40", "realesrgan", "--image", "photo.png", "--scale", 2, "--draws", 3]
    assert "jpeg:40, 1, jpeg:40, 2" in figures(*args, "--region", "2,4,20,24", "--out", "sheet.png")
    page = np.asarray(Image.open("sheet.png"))
    assert page.shape == (2 * (20 + 22), 3 * (24 + 6) - 6, 3)
    for row, name in enumerate(["jpeg:40", "realesrgan"]):
        for column in range(3):
            low = Degradation(name)(gt, (20, 24), column).repeat(2, 0).repeat(2, 1)[2:22, 4:28]
            assert np.array_equal(page[row * 42 + 22 :, column * 30 :][:20, :24], low)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_curve_is_drawn_from_saved_results(figures: Figures, suffix: str) -> None:
    """Saved results are not measured again. At x1, a filter's PSNR is infinite."""
    make_images(Path("photos"), 2, (48, 52))
    args = ["curve", "bicubic", "net.pth", "--sets", "A=photos", "B=photos", "--scales", "1:2:0.5", "--out"]
    figures(*args, f"first.{suffix}")
    kept = Path("results/tables.json")
    before = json.loads(kept.read_text())
    assert len(before) == 6  # both sets have the same images
    kept.write_text(json.dumps({key: {**row, "psnr": 1} for key, row in before.items()}))
    assert figures(*args, f"second.{suffix}") == f"second.{suffix}\n"
    assert {row["psnr"] for row in json.loads(kept.read_text()).values()} == {1}
    first, second = (Path(f"{name}.{suffix}").read_bytes() for name in ("first", "second"))
    assert first[:4] == second[:4] == {"png": b"\x89PNG", "svg": b"<?xm", "pdf": b"%PDF"}[suffix] and first != second


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["sheet", "--image", "photo.png", "--out", "s.gif"], "s.gif: cannot be written as '.gif'"),
        (["sheet", "--image", "none.png", "--out", "s.png"], "none.png: cannot be read"),
        (["sheet", "--image", "net.pth", "--out", "s.png"], "net.pth: is not a PNG"),
        (["sheet", "--image", "photo.png", "--scale", "0", "--out", "s.png"], "--scale: expected a number"),
        (["sheet", "--image", "photo.png", "--region", "0,0,41,9", "--out", "s.png"], "exceeds the image of size"),
        (["sheet", "--image", "photo.png", "--model", "nett", "--out", "s.png"], "'nett': no such file"),
        (["sheet", "--image", "photo.png", "--degradation", "foto", "--out", "s.png"], "unknown degradation 'foto'"),
        (["degradations", "jpeg:0", "--image", "photo.png", "--out", "s.png"], "degradation jpeg:0: jpeg_range"),
        (["degradations", "--image", "photo.png", "--scale", "0", "--out", "s.png"], "--scale: expected a number"),
        (["curve", "bicubic", "--sets", "A=.", "--scales", "2x3", "--out", "c.png"], "equal scales along y and x"),
        (["curve", "bicubic", "--sets", "A=.", "--scales", "2", "--out", "c.md"], "c.md: cannot be written as '.md'"),
        (["curve", "bicubic", "--sets", "A=.", "--scales", "2", "2", "--out", "c.png"], "a scale occurs twice"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(figures: Figures, args: list[str], message: str) -> None:
    save(Path("photo.png"), noise_image(HEIGHT, WIDTH))
    before = set(Path().iterdir())
    said = figures(*args, status=1)
    assert message in said and said.count("\n") == 1 and set(Path().iterdir()) == before
