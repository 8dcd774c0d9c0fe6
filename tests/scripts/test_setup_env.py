"""The README's two commands say in one line, and at once, that a Python does not fit."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, clean_environ

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the scripts need bash")
# A Python that can only say how old it is.
OLD = """#!/bin/sh
case "$2" in
    *platform*) echo 3.9.18 ;;
    *sep=*) echo 3.9 ;;
    *) exit 1 ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The scripts alone, for they must not get further than to these lines."""
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
def test_a_python_that_is_too_old_is_named(clone: Path, old: Path, script: str) -> None:
    done = run(clone, script, PYTHON=str(old))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {old} is Python 3.9.18, which is too old; "
        f"name one of 3.10 or newer, such as PYTHON=python3.13 bash scripts/{script}\n"
    )
    assert not (clone / ".venv").exists()


def test_a_python_that_is_not_there_is_named(clone: Path) -> None:
    done = run(clone, "quickstart.sh", PYTHON="python9.9")
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no Python called python9.9; name one of 3.10 or newer")
    assert done.stderr.count("\n") == 1


def test_an_environment_of_another_python_than_the_one_asked_for_is_named(clone: Path, old: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / ".venv"], check=True)
    done = run(clone, "quickstart.sh", PYTHON=str(old))
    has = ".".join(map(str, sys.version_info[:2]))
    said = f"error: .venv holds Python {has}, PYTHON names 3.9; remove .venv to have it made again\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_the_matrix_names_a_python_that_is_not_there(clone: Path) -> None:
    done = run(clone, "test_matrix.sh", "9.9", PYENV_ROOT=str(clone))
    assert (done.returncode, done.stderr) == (1, "error: there is no Python 9.9 on PATH or under pyenv\n")


def test_the_lowest_versions_are_those_of_setup_cfg_for_this_python() -> None:
    code = "import lowest_versions; print(*(f'{r.name}{r.specifier}' for r in lowest_versions.requirements()))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=ROOT / "scripts", text=True, capture_output=True, check=True).stdout.split()
    assert {"torch>=2.4", "numpy>=1.24", "Pillow>=10.1"} <= set(found)
    assert len([name for name in found if name.startswith("opencv-python>=")]) == 1
    assert any(name.startswith("basicsr") for name in found) == (sys.version_info < (3, 13))
