"""scripts/viewer_drive.py operates the viewer like a user and prints the times."""
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from image_files import image, model

pytest.importorskip("browser")  # skips without a browser
__all__ = ["model"]


def test_each_step_is_timed(model, tmp_path):
    image("RGB", 90, 120).save(tmp_path / "in.png")
    command = [sys.executable, ROOT / "scripts" / "viewer_drive.py", "--image", tmp_path / "in.png", "--places", "1"]
    done = subprocess.run([*command, "--steps", "2", "--model", model], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    steps = [int(time) for time in re.findall(r"×.*: sharp after (\d+) ms", done.stdout)]
    median = int(re.search(r"2 steps: sharp after (\d+) ms", done.stdout)[1])
    assert len(steps) == 2 and min(steps) > 0
    assert min(steps) - 1 <= median <= max(steps) + 1
    assert int(re.search(r"the stretched image is visible after (\d+) ms", done.stdout)[1]) > 0


def test_an_unknown_model_is_two_lines(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "viewer_drive.py", "--model", "none.pth"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "none.pth" in done.stderr and done.stderr.count("\n") == 2
