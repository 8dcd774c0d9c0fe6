"""The README's scripts report an unsupported Python at once, in one line."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, clean_environ

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the scripts need bash")
# A fake Python 3.9, which only prints its version.
OLD = """#!/bin/sh
case "$2" in
    *platform*) echo 3.9.18 ;;
    *sep=*) echo 3.9 ;;
    *) exit 1 ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Copy only the scripts. They end before they need other files."""
    shutil.copytree(ROOT / "scripts", tmp_path / "clone" / "scripts")
    return tmp_path / "clone"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "python3.9"
    path.write_text(OLD)
    path.chmod(0o755)
    return path


def run(clone: Path, script: str, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in clean_environ().items() if key != "VIRTUAL_ENV"}
    command = ["bash", f"scripts/{script}", *args]
    return subprocess.run(command, cwd=clone, env={**env, **variables}, text=True, capture_output=True, check=False)


@pytest.mark.parametrize("script", ["quickstart.sh", "run_tests.sh"])
def test_an_old_python_is_reported(clone: Path, old: Path, script: str) -> None:
    done = run(clone, script, PYTHON=str(old))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {old}: Python 3.9.18 is too old; "
        f"set PYTHON to Python 3.10 or newer: PYTHON=python3.13 bash scripts/{script}\n"
    )
    assert not (clone / ".venv").exists()


def test_a_missing_python_is_reported(clone: Path) -> None:
    done = run(clone, "quickstart.sh", PYTHON="python9.9")
    assert done.returncode == 1
    assert done.stderr.startswith("error: python9.9: not found, or not a Python; set PYTHON to Python 3.10 or newer")
    assert done.stderr.count("\n") == 1


def test_an_environment_of_another_python_is_reported(clone: Path, old: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / ".venv"], check=True)
    done = run(clone, "quickstart.sh", PYTHON=str(old))
    has = ".".join(map(str, sys.version_info[:2]))
    said = f"error: .venv has Python {has}, but PYTHON is 3.9; remove .venv to create it again\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_the_matrix_reports_a_missing_python(clone: Path) -> None:
    done = run(clone, "test_matrix.sh", "9.9", PYENV_ROOT=str(clone))
    assert (done.returncode, done.stderr) == (1, "error: Python 9.9: not found on PATH or under pyenv; install it\n")


def test_the_lowest_versions_come_from_setup_cfg() -> None:
    code = "import lowest_versions; print(*(f'{r.name}{r.specifier}' for r in lowest_versions.requirements()))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=ROOT / "scripts", text=True, capture_output=True, check=True).stdout.split()
    assert {"torch>=2.4", "numpy>=1.24", "Pillow>=11.3"} <= set(found)
    assert len([name for name in found if name.startswith("opencv-python>=")]) == 1
    assert any(name.startswith("basicsr") for name in found) == (sys.version_info < (3, 13))
