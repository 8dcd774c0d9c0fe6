"""scripts/tables.py in several processes, started by torchrun, makes the same table as one process."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from experiment import NETWORK, environ, make_images, torchrun

from liif_basicsr.archs import build_network
from liif_basicsr.hub import checkpoint

pytestmark = pytest.mark.cpu  # tables.py chooses its device itself


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two sets, and a network."""
    make_images(tmp_path / "five", 5, (48, 52))
    make_images(tmp_path / "two", 2, (48, 52), seed=1)
    torch.manual_seed(0)
    checkpoint.save(tmp_path / "net.pth", {"params": build_network(NETWORK).state_dict(), "network_g": NETWORK})
    return tmp_path


def table(data: Path, processes: int, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run tables.py. Each number of processes has its own results file."""
    run = torchrun(processes) if processes else [sys.executable]
    args = ["net.pth", "bicubic", "--sets", "five", "two", "--scales", "2", "2.5", "--data", ".",
            "--results", f"{processes}.json", "--out", f"{processes}.csv"]  # fmt: skip
    command = [*run, str(ROOT / "scripts" / "tables.py"), *args]
    done = subprocess.run(command, cwd=data, env=environ(), text=True, capture_output=True, check=False, timeout=240)
    assert done.returncode == status, done.stderr
    return done


def test_several_processes_print_the_same_table(data: Path) -> None:
    alone = table(data, 0)
    for processes in (2, 3):
        assert table(data, processes).stdout == alone.stdout
        for kind in ("json", "csv"):
            assert (data / f"{processes}.{kind}").read_bytes() == (data / f"0.{kind}").read_bytes()


def test_several_processes_measure_missing_results_only(data: Path) -> None:
    table(data, 0)
    kept = json.loads((data / "0.json").read_text())
    marked = {key: {**row, "psnr": 100} for key, row in list(kept.items())[1:]}
    (data / "2.json").write_text(json.dumps(marked))
    table(data, 2)
    assert json.loads((data / "2.json").read_text()) == {**kept, **marked}


def test_a_corrupt_image_ends_all_processes_with_its_name(data: Path) -> None:
    image = data / "two" / "p1.png"
    image.write_bytes(image.read_bytes()[:-300])
    said = table(data, 2, status=1).stderr
    assert "tables.py: error: " in said and "p1.png" in said and not (data / "2.csv").exists()
