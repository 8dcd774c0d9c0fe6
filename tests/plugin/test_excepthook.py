"""Mistakes under BasicSR's own scripts and those of other projects end in one line; all else is printed as ever."""
from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Environment
from experiment import environ, make_images, train_options, write_options

PROJECT = Path(__file__).parents[1] / "other_project"


@pytest.mark.parametrize("failing", ["main", "worker"])
def test_basicsr_scripts_tell_bad_input_in_one_line(installed: Environment, failing: str) -> None:
    script = installed.work / "basicsr" / "train.py"
    script.parent.mkdir()
    script.write_text(
        "import basicsr, sys, torch\n"
        "from liif_basicsr import LIIFError\n"
        "class Broken(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 1\n"
        "    def __getitem__(self, index): raise LIIFError('photo.png: is corrupt')\n"
        f"next(iter(torch.utils.data.DataLoader(Broken(), num_workers={int(failing == 'worker')})))\n"
    )
    assert installed.run(script, status=2).stderr == "liif_basicsr: error: photo.png: is corrupt\n"


def test_basicsr_scripts_keep_the_traceback_of_all_other_errors(installed: Environment) -> None:
    script = installed.work / "basicsr" / "test.py"
    script.parent.mkdir()
    script.write_text("import basicsr\n1 / 0\n")
    assert installed.run(script, status=1).stderr.startswith("Traceback")


# Another project's train script, with BasicSR's pipeline ------------------------------------------------------------


def run(folder: Path, opt: dict[str, Any] | str, script: str = "train.py") -> tuple[int, str]:
    """Run the project's script; returns its exit status and what it printed on stderr."""
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    path = folder / "options.yml"
    path.write_text(opt) if isinstance(opt, str) else write_options(path, opt)
    done = subprocess.run(
        [sys.executable, folder / script, "-opt", path], env={**environ(), "LIIF_BASICSR_DISABLE": "1"}, cwd=folder,
        text=True, capture_output=True, check=False, timeout=240,
    )  # fmt: skip
    return done.returncode, done.stderr


def change(block: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    """A change of options; a value of None takes the option away."""

    def apply(opt: dict[str, Any]) -> None:
        target = opt
        for name in filter(None, block.split(".")):
            target = target[name]
        target.update(values)
        for key in [key for key, value in values.items() if value is None]:
            del target[key]

    return apply


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (change("network_g", hidden_dimms=[8]), "hidden_dims"),  # found by our model
        (change("datasets.train", lq_size=0), "lq_size"),  # by our dataset
        (change("datasets.train", type="ArbitraryScaleImagesDataset"), "no dataset 'ArbitraryScaleImagesDataset'"),
        (change("train", total_iter=None), "total_iter"),  # these by BasicSR, which prints its traceback
        (change("", model_type="LIIFModle"), "no model 'LIIFModle'"),
    ],
)
def test_a_mistake_in_the_options_is_one_line_and_status_2(
    tmp_path: Path, mistake: Callable[[dict[str, Any]], None], said: str
) -> None:
    opt = train_options(make_images(tmp_path / "images", 2))
    mistake(opt)
    status, printed = run(tmp_path, opt)
    assert status == 2, printed
    [line] = [line for line in printed.splitlines() if line.startswith("liif_basicsr: error: ")]
    assert said in line
    assert "Traceback" not in printed


def test_an_options_file_that_is_no_yaml_is_one_line(tmp_path: Path) -> None:
    status, printed = run(tmp_path, "model_type: LIIFModel\ndatasets: {train: [\n")
    assert status == 2
    assert printed.splitlines()[-1].startswith(f"liif_basicsr: error: {tmp_path / 'options.yml'}: is no options file")
    assert "Traceback" not in printed


def test_a_model_of_theirs_fails_as_ever(tmp_path: Path) -> None:
    opt = train_options(make_images(tmp_path / "images", 2), model_type="TheirModel")
    opt["datasets"]["train"]["type"] = "NoSuchDataset"
    status, printed = run(tmp_path, opt)
    assert status == 1
    assert printed.splitlines()[-1].startswith("KeyError")
    assert "Traceback" in printed


def test_an_error_in_their_own_code_keeps_its_traceback(tmp_path: Path) -> None:
    shutil.copytree(PROJECT, tmp_path, dirs_exist_ok=True)
    (tmp_path / "failing.py").write_text((tmp_path / "train.py").read_text() + "    1 / 0\n")
    opt = train_options(make_images(tmp_path / "images", 2), total_iter=1)
    shutil.copy(tmp_path / "failing.py", tmp_path / "train_failing.py")
    status, printed = run(tmp_path, opt, "train_failing.py")
    assert status == 1
    assert printed.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_a_program_that_loads_a_network_sees_the_exception(installed: Environment) -> None:
    """In a program of a person's own, a LIIFError is an exception like any other, with its traceback."""
    done = installed.run("-c", "import basicsr, liif_basicsr; liif_basicsr.load('no.pth')", status=1)
    assert done.stderr.startswith("Traceback")
