"""scripts/docs_images.py draws the images of the documentation."""
from __future__ import annotations

import importlib
import sys

import pytest
from conftest import ROOT
from pages import PAGES
from PIL import Image

# Not drawn by this script: an input, the figures of tables.py and controlled_run.py, and the screenshot of ComfyUI.
OTHER = {"cat.png", "psnr_time.png", "decoders.png", "comfyui.png"}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("docs_images")


def test_every_image_is_drawn_and_shown(script):
    assert {path.name for path in (ROOT / "assets").iterdir()} == OTHER | script.IMAGES.keys()
    text = "".join(page.read_text() for page in PAGES)
    assert [name for name in script.IMAGES if f"assets/{name}" not in text] == []


def test_one_image(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["docs_images.py", "cat_x3.7", "--out", str(tmp_path)])
    assert script.main() == 0
    with Image.open(tmp_path / "cat_x3.7.jpg") as image:
        assert image.size == (481, 370)


@pytest.mark.parametrize(("names", "message"), [
    (["vewer"], "vewer: unknown image; did you mean 'viewer'?"), (["sheet_x4"], "img_003.png: cannot be read"),
])  # fmt: skip
def test_bad_input(script, tmp_path, monkeypatch, capsys, names, message):
    monkeypatch.setattr(sys, "argv", ["docs_images.py", *names, "--data", str(tmp_path), "--out", str(tmp_path)])
    assert script.main() == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not list(tmp_path.iterdir())
