"""The launcher with and without GPUs: one-line errors for missing or unusable GPUs, and defaults of data loaders."""
from __future__ import annotations

import pytest
import torch

from liif_basicsr import devices
from liif_basicsr.errors import LIIFError
from liif_basicsr.launch import distributed
from liif_basicsr.launch import options as launch_options
from liif_basicsr.launch.resume import set_loader_defaults

VERSION = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 2021\nGCC version: 9.3.0\n"


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Simulate a machine whose NVIDIA driver is too old for torch."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "version")
    devices.DRIVER.write_text(VERSION)
    return devices.DRIVER


def test_unsupported_driver(driver):
    text = devices.unfit_driver()
    start = f"the NVIDIA driver 470.82.01 does not support torch {torch.__version__}, built for CUDA 13.0;"
    assert text.startswith(start)
    with pytest.raises(LIIFError, match="expected auto or 0, got 1: the NVIDIA driver 470.82.01 does not"):
        launch_options.check_num_gpu(1)


def test_torch_without_cuda(driver, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    said = f"torch {torch.__version__} does not support NVIDIA GPUs; install a build that does, see pytorch.org"
    assert devices.unfit_driver() == said


def test_no_driver_or_a_usable_gpu(driver, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.unfit_driver() is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    driver.unlink()
    assert devices.unfit_driver() is None
    with pytest.raises(LIIFError, match="expected auto or 0, got 1: torch finds no GPU"):
        launch_options.check_num_gpu(1)


@pytest.mark.parametrize("count", [1, 2])
def test_more_processes_than_gpus_are_refused_at_once(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(LIIFError, match=f"4 processes .*, but it has only {count}; use --nproc_per_node={count}"):
        distributed.init_dist("pytorch")


@pytest.mark.parametrize(("given", "gpu", "pinned", "persistent"), [
    ({}, True, True, True), ({}, False, False, False), ({"prefetch_mode": "cpu"}, True, True, False),
    ({"pin_memory": False, "persistent_workers": False}, True, False, False),
    ({"num_worker_per_gpu": 0}, True, True, False),
])  # fmt: skip
def test_loader_defaults(given, gpu, pinned, persistent):
    options = {"num_worker_per_gpu": 2, **given}
    set_loader_defaults(options, gpu)
    assert (options["pin_memory"], options["persistent_workers"]) == (pinned, persistent)
