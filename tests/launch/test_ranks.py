"""Processes started by torchrun: one process handles each item, and process 0 receives all results."""
from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from experiment import environ, torchrun

from liif_basicsr.errors import LIIFError
from liif_basicsr.launch.ranks import Ranks

# Item 0 waits until all other items have ended, and the other items wait until item 0 has started. A single process
# would never finish.
SCRIPT = """
import json, sys, time
from pathlib import Path
from liif_basicsr.errors import run_script
from liif_basicsr.launch.ranks import Ranks

def wait_for(name, count):
    while len(list(Path().glob(name))) < count:
        time.sleep(0.01)

def work(index):
    Path(f"begun{index}").touch()
    wait_for("ended*" if index == 0 else "begun0", 5 if index == 0 else 1)
    Path(f"ended{index}").touch()
    return [index, 0.1 + index]

def main():
    ranks = Ranks()
    agreed = ranks.from_first(lambda: {"rank": ranks.rank, "odd": chr(0xDCFF)})
    results = list(ranks.map(work, 6))
    results += ranks.map(lambda index: -index, 2)
    status = ranks.end(3 + ranks.rank)
    Path(f"rank{ranks.rank}").write_text(json.dumps([agreed, results, status]))

sys.exit(run_script("script", main, ""))
"""
# Each process waits in its first item.
HELD = """
import sys, time
from pathlib import Path
from liif_basicsr.errors import run_script
from liif_basicsr.launch.ranks import Ranks

def work(index):
    Path(f"begun{index}").touch()
    while not Path("go").exists():
        time.sleep(0.01)

sys.exit(run_script("script", lambda: list(Ranks().map(work, 9)) and 0, ""))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Simulate the environment of the second process on a machine with two GPUs."""
    variables = {"TORCHELASTIC_RUN_ID": "x", "RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(dist, "rendezvous", lambda url: iter([(dist.HashStore(), 5, 8)]))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return monkeypatch


@pytest.mark.parametrize("processes", [2, 3])
def test_items_are_distributed_and_process_0_gets_the_results_in_order(script: Path, processes: int) -> None:
    command = [*torchrun(processes), str(script)]
    subprocess.run(command, cwd=script.parent, env=environ(), check=True, timeout=120)
    found = [json.loads((script.parent / f"rank{rank}").read_text()) for rank in range(processes)]
    results = [[index, 0.1 + index] for index in range(6)] + [0, -1]
    assert found[0] == [{"rank": 0, "odd": "\udcff"}, results, 3]
    assert found[1:] == [[{"rank": 0, "odd": "\udcff"}, [], 3]] * (processes - 1)


def test_if_torchrun_is_killed_the_processes_end_with_a_message(script: Path) -> None:
    said = script.parent / "said"
    script.write_text(HELD)
    with open(said, "w") as file:
        run = subprocess.Popen([*torchrun(2), str(script)], cwd=script.parent, env=environ(), stdout=file, stderr=file)
    try:
        while not (script.parent / "begun1").exists():
            assert run.poll() is None, said.read_text()
            time.sleep(0.01)
    finally:
        run.kill()
        run.wait()
    (script.parent / "go").touch()
    end = time.monotonic() + 60
    while said.read_text().count("script: error: another process of this run has ended") < 2:
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.01)
    assert not (script.parent / "begun2").exists()


def test_without_torchrun_one_process_computes_lazily(launched) -> None:
    launched.delenv("TORCHELASTIC_RUN_ID")
    ranks, begun = Ranks(), []
    results = ranks.map(lambda index: begun.append(index) or index, 3)
    assert (ranks.rank, ranks.count) == (0, 1) and next(results) == 0 and begun == [0]
    assert list(results) == [1, 2] and ranks.from_first(lambda: results) is results and ranks.end(1) == 1


@pytest.mark.parametrize(("device", "taken"), [(None, [1]), ("cuda", [1]), ("cuda:0", []), ("cpu", [])])
def test_each_process_selects_its_gpu(launched, device: str | None, taken: list[int]) -> None:
    set_to: list[int] = []
    launched.setattr(torch.cuda, "set_device", set_to.append)
    Ranks().take_gpu(device)
    assert set_to == taken


def test_more_processes_than_gpus_are_an_error_except_on_the_cpu(launched) -> None:
    launched.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(LIIFError, match="4 processes .* need a GPU each, but it has only 2; use --nproc_per_node=2"):
        Ranks().take_gpu()
    Ranks().take_gpu("cpu")
