"""Missing or unusable GPUs are reported in one line; torch is patched to report them."""
from __future__ import annotations

import pytest
import torch

from liif_basicsr import devices
from liif_basicsr.errors import LIIFError
from liif_basicsr.launch import distributed
from liif_basicsr.launch import options as launch_options

VERSION = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 2021\nGCC version: 9.3.0\n"


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver that torch cannot use."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "version")
    devices.DRIVER.write_text(VERSION)
    return devices.DRIVER


def test_a_driver_that_does_not_fit_is_named_with_what_to_do(driver):
    text = devices.unfit_driver()
    assert text.startswith(f"the NVIDIA driver 470.82.01 does not fit torch {torch.__version__}, made for CUDA 13.0;")
    with pytest.raises(LIIFError, match="expected auto or 0, because the NVIDIA driver 470.82.01 does not"):
        launch_options.check_num_gpu(1)


def test_a_torch_without_cuda_is_named_where_there_is_a_driver(driver, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    said = f"torch {torch.__version__} is made for no NVIDIA GPU; install one that is, see pytorch.org"
    assert devices.unfit_driver() == said


def test_nothing_is_said_without_a_driver_or_with_a_gpu(driver, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.unfit_driver() is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    driver.unlink()
    assert devices.unfit_driver() is None
    with pytest.raises(LIIFError, match="because torch finds no GPU, got 1"):
        launch_options.check_num_gpu(1)


@pytest.mark.parametrize(
    ("count", "said"), [(1, "there is 1: --nproc_per_node=1"), (2, "there are 2: --nproc_per_node=2")]
)
def test_more_processes_than_gpus_are_an_error_before_they_wait(monkeypatch, count, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(LIIFError, match=f"4 processes here need a GPU each, {said}"):
        distributed.init_dist("pytorch")
