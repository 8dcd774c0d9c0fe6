"""Python code in README and docs passes the type checkers."""
import json
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from pages import blocks

CALLS = """
from pathlib import Path
import numpy as np
import torch
from PIL import Image
import liif_basicsr

liif_basicsr.upscale("a.jpg", np.float32(2)).save("b.jpg")
liif_basicsr.upscale(Path("a.jpg"), [np.int64(2), 3.5]).save("b.jpg")
liif_basicsr.rotate("a.jpg", 5, scale=np.float64(2)).save("b.jpg")
liif_basicsr.upscale(Image.open("a.jpg"), size=(np.int64(20), 30)).getexif()
liif_basicsr.upscale(np.zeros((4, 4, 3)), size=np.array([8, 8]), bgr=True).astype(np.float32)
liif_basicsr.upscale(torch.zeros(3, 4, 4)).unsqueeze(0)
liif_basicsr.load("liif-fast").encode_image(torch.zeros(1, 3, 4, 4)).render((8, 8)).mean()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with CALLS and all Python blocks of the pages. The files of blocks are named after page and line."""
    folder = tmp_path_factory.mktemp("blocks")
    found = blocks("python")
    assert len(found) > 10
    for block in found:
        (folder / f"{block.page.stem.replace('-', '_')}_{block.line}.py").write_text(block.text)
    (folder / "calls.py").write_text(CALLS)
    return folder


def check(command):
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy(folder):
    pytest.importorskip("mypy")
    check([sys.executable, "-m", "mypy", "--config-file", "setup.cfg", *sorted(folder.glob("*.py"))])


@pytest.mark.skipif(not (shutil.which("pyright") and shutil.which("node")), reason="pyright or node is not installed")
def test_pyright(folder):
    config = folder / "pyrightconfig.json"  # pyright checks all files in this folder
    config.write_text(json.dumps({"extraPaths": [str(ROOT)], "reportMissingImports": False}))
    check(["pyright", "--pythonpath", sys.executable, "--project", config])
