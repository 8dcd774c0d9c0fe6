"""scripts/benchmark.py: memory is measured in bytes on any system."""
from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import psutil
import pytest
from conftest import ROOT


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("benchmarking.memory")


def fake_resource(peak: int) -> SimpleNamespace:
    return SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=peak))


def test_the_peak_is_at_least_what_is_resident_now(memory: ModuleType) -> None:
    resident = psutil.Process().memory_info().rss
    assert 0.95 * resident <= memory.peak_memory() < 100 * resident


@pytest.mark.parametrize(("platform", "peak"), [("linux", 5 * 1024), ("darwin", 5)])
def test_the_peak_is_in_bytes_on_linux_and_macos(
    memory: ModuleType, monkeypatch: pytest.MonkeyPatch, platform: str, peak: int
) -> None:
    monkeypatch.setattr(memory, "resource", fake_resource(5))
    monkeypatch.setattr(sys, "platform", platform)
    assert memory.peak_memory() == peak


def test_the_peak_is_psutils_on_windows(memory: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=7))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "resource", None)  # its import fails
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
    allocated = np.ones(2**28, np.uint8)  # more than the allocator can have at hand
    assert after_mapping - before < 2**23 and memory.private_memory() - after_mapping > len(allocated) - 2**23
