"""scripts/benchmark.py: memory measurements and the table of networks."""
from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from conftest import ROOT
from experiment import NETWORK, environ

from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.cost import multiply_adds


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("benchmarking.memory")


def fake_resource(peak: int) -> SimpleNamespace:
    return SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=peak))


def test_peak_memory_is_at_least_the_resident_size(memory: ModuleType) -> None:
    resident = psutil.Process().memory_info().rss
    assert 0.95 * resident <= memory.peak_memory() < 100 * resident


@pytest.mark.parametrize(("platform", "peak"), [("linux", 5 * 1024), ("darwin", 5)])
def test_peak_memory_is_in_bytes_on_linux_and_macos(
    memory: ModuleType, monkeypatch: pytest.MonkeyPatch, platform: str, peak: int
) -> None:
    monkeypatch.setattr(memory, "resource", fake_resource(5))
    monkeypatch.setattr(sys, "platform", platform)
    assert memory.peak_memory() == peak


def test_peak_memory_comes_from_psutil_on_windows(memory: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=7))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "resource", None)  # makes its import fail
        importlib.reload(memory)
        patch.setattr(psutil, "Process", lambda: process)
        assert memory.peak_memory() == 7
    importlib.reload(memory)


def test_private_memory_counts_allocated_but_not_mapped_pages(memory: ModuleType, tmp_path: Path) -> None:
    np.zeros(2**25, np.uint8).tofile(tmp_path / "mapped")
    before = memory.private_memory()
    mapped = np.memmap(tmp_path / "mapped", np.uint8, "r")
    mapped.sum()
    after_mapping = memory.private_memory()
    allocated = np.ones(2**28, np.uint8)  # more than the allocator keeps in reserve
    assert after_mapping - before < 2**23 and memory.private_memory() - after_mapping > len(allocated) - 2**23


def test_the_table_of_networks(
    memory: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    networks = importlib.import_module("benchmarking.networks")
    monkeypatch.setattr(networks, "SCALES", (2, 3))
    monkeypatch.setattr(networks, "BLOCKS", {"mine": NETWORK, "other": {"type": "LMLIIF"}})
    monkeypatch.setattr(networks, "NETWORK", NETWORK)
    monkeypatch.setattr(networks, "per_megapixel", lambda render, scale, runs: runs * scale)
    networks.measure_networks(runs=5)
    net = build_network(NETWORK)
    cost = " / ".join(f"{multiply_adds(net, (scale, scale)) / 1e3:.0f}" for scale in (2, 3))
    count = f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f}M"
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert "x2, x3" in head
    assert rows[0] == f"| mine | {count} | {cost} | 10 / 15 |"
    assert rows[1].startswith("| other | ") and rows[1].endswith(" | 10 / 15 |") and len(rows) == 2


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Simulate a GPU as the default device, with one millisecond between events."""
    events: list[float] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            events.append(len(events))
            self.at = events[-1]

        def synchronize(self) -> None:
            self.waited = True

        def elapsed_time(self, end: Event) -> float:
            assert end.waited
            return end.at - self.at

    monkeypatch.setattr(torch, "get_default_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7)
    return monkeypatch


def test_time_and_memory_on_a_gpu(memory, gpu) -> None:
    timing = importlib.import_module("benchmarking.timing")
    calls: list[int] = []
    assert timing.seconds(lambda: calls.append(1)) == 0.001 and calls == [1]
    assert memory.peak_memory() == 7


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("more", [[], ["--peak", "8", "8", "16", "16"]])
def test_a_missing_gpu_is_reported_in_one_line(more: list[str]) -> None:
    command = [sys.executable, ROOT / "scripts" / "benchmark.py", "--device", "cuda", *more]
    done = subprocess.run(command, env=environ(), text=True, capture_output=True, check=False)
    assert done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1
    assert done.stderr.startswith("benchmark.py: error: --device cuda: ")


@pytest.mark.parametrize(("name", "says"), [
    ("datasets.image_folder", "datasets.image_folder cannot be imported (No module named 'datasets"),
    ("models", "models cannot be imported (No module named 'a_missing_package')"),
])  # fmt: skip
def test_an_incomplete_clone_is_reported_in_one_line(
    memory: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, says: str
) -> None:
    official = importlib.import_module("benchmarking.official")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "liif.py").touch()
    (tmp_path / "models" / "__init__.py").write_text("import a_missing_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace())
    monkeypatch.setattr(torch.Tensor, "cuda", torch.Tensor.cuda)  # restored afterwards
    with pytest.raises(LIIFError) as caught:
        official.import_official(tmp_path, name)
    assert str(caught.value).startswith(f"--official {tmp_path}: {says}") and "\n" not in str(caught.value)
    assert str(caught.value).endswith("clone https://github.com/yinboc/liif completely, and install its requirements")


def test_the_row_of_peak_memory() -> None:
    command = [sys.executable, ROOT / "scripts" / "benchmark.py", "--peak", "8", "8", "16", "16"]
    done = subprocess.run(command, env=environ(), text=True, capture_output=True, check=True)
    assert re.fullmatch(r"\| 8x8 to 16x16, \w+ \| \d+ s \| peak of the process: [\d.]+ GiB \| \|\n", done.stdout)
