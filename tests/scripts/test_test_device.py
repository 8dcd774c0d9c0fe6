"""LIIF_TEST_DEVICE sets the device of the networks in the tests."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT


@pytest.mark.parametrize(("name", "says"), [
    ("gpu", "expected one of cpu, cuda, mps, fakegpu"),
    pytest.param("cuda", "torch cannot use this device",
                 marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")),
])  # fmt: skip
def test_an_unavailable_device_is_reported_in_one_line(name: str, says: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "tests/rendering/test_feature_mlps.py"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "LIIF_TEST_DEVICE": name}, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode != 0 and done.stdout + done.stderr == f"ERROR: LIIF_TEST_DEVICE={name}: {says}\n\n"
