"""The doctor reports the installation, and how to solve each problem."""
from __future__ import annotations

import os
import subprocess

import pytest
from conftest import Environment, clean_environ

from liif_basicsr import __version__
from liif_basicsr.plugin import versions
from liif_basicsr.plugin.registry import entries

DOCTOR = ("-m", "liif_basicsr", "doctor")


def lines(output: str) -> dict[str, str]:
    """The lines of the report by name."""
    report = output.partition("\nProblems\n")[0].splitlines()
    return dict(line.split(maxsplit=1) for line in report if line.startswith("  "))


def test_healthy_installation_has_no_problem(installed: Environment) -> None:
    done = installed.run(*DOCTOR)
    seen = lines(done.stdout)
    assert done.stdout.endswith("\nNo problem found.\n")
    assert seen["liif_basicsr"] == f"{__version__}  {installed.site / 'liif_basicsr'}"
    assert seen["start-up"].startswith(f"file                {installed.site / 'liif_basicsr-startup'}")
    assert {seen[name] for _, name, _ in entries()} == {"by the plugin"}
    assert {"python", "torch", "torchvision", "basicsr", "numpy", "lmdb", "CPU"} <= seen.keys()


def test_hook_that_is_off_is_a_problem(environment: Environment) -> None:
    environment.add_package()
    done = environment.run(*DOCTOR, status=1, LIIF_BASICSR_DISABLE="1")
    problems = done.stdout.partition("\nProblems\n")[2]
    assert "unset the environment variable LIIF_BASICSR_DISABLE" in problems
    assert "the start-up file is not installed" in problems
    assert problems.count("\n") == 2


def test_missing_packages_are_named_with_the_install_command(installed: Environment) -> None:
    installed.outer.unlink()
    problems = installed.run(*DOCTOR, status=1).stdout.partition("\nProblems\n")[2]
    for distribution in ("torch", "torchvision", "opencv-python", "pyyaml"):
        assert f"pip install {distribution}\n" in problems
    assert "No module named 'basicsr'): python -m liif_basicsr install-basicsr\n" in problems


def test_versions_are_listed_with_the_tested_range(installed: Environment) -> None:
    seen = lines(installed.run(*DOCTOR).stdout)
    for distribution, tested in versions.TESTED.items():
        assert f" (tested: {tested[0]} to {tested[1]})  " in seen[distribution]


def test_version_that_is_too_old_is_a_problem(installed: Environment) -> None:
    installed.outer.unlink()
    for name, version in (("torchvision", "0.15.2+cu118"), ("pillow", "10.0.1")):
        info = installed.site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        (installed.site / f"{'PIL' if name == 'pillow' else name}.py").touch()
    problems = installed.run(*DOCTOR, status=1).stdout.partition("\nProblems\n")[2]
    assert "  torchvision 0.15.2+cu118 is too old: pip install 'torchvision>=0.19'\n" in problems
    assert "  pillow 10.0.1 is too old: pip install 'pillow>=11.3'\n" in problems


@pytest.mark.parametrize(
    ("module", "code", "remedy"),
    [
        ("torch", "raise OSError('libcudart.so: cannot open shared object file')", "--force-reinstall torch"),
        ("cv2", "raise ImportError('libGL.so.1: cannot open shared object file')", "libgl1"),
        ("lmdb", "import cffi_that_is_not_there", "pip install --force-reinstall lmdb"),
        ("basicsr", "import sys; sys.modules['distutils'] = None; import distutils", "pip install setuptools"),
    ],
)
def test_packages_that_cannot_be_imported_are_named_with_cause_and_remedy(
    installed: Environment, module: str, code: str, remedy: str
) -> None:
    installed.outer.unlink()
    (installed.site / f"{module}.py").write_text(code)
    problems = installed.run(*DOCTOR, status=1).stdout.partition("\nProblems\n")[2].splitlines()
    line = next(line for line in problems if code.split()[-1].strip("')") in line)
    assert remedy in line


def test_name_registered_by_another_package_is_a_problem(installed: Environment) -> None:
    file = installed.site / "liif_basicsr" / "losses" / "own_loss.py"
    file.write_text(
        "from liif_basicsr.registration import register_in\n"
        "@register_in('LOSS_REGISTRY')\nclass PerceptualLoss: pass\n"
    )
    done = installed.run(*DOCTOR, status=1)
    assert lines(done.stdout)["PerceptualLoss"].startswith("by basicsr.losses.")
    assert "PerceptualLoss is already registered by basicsr.losses." in done.stdout


def test_closed_output_pipe_is_not_an_error(installed: Environment) -> None:
    installed.outer.unlink()
    read, write = os.pipe()
    os.close(read)
    command = [installed.python, *DOCTOR]
    done = subprocess.run(command, env=clean_environ(), stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""


def test_unknown_command_lists_the_known_ones(installed: Environment) -> None:
    done = installed.run("-m", "liif_basicsr", "surgeon", status=2)
    assert "'surgeon'" in done.stderr
    assert "doctor" in done.stderr
    assert installed.run("-m", "liif_basicsr", "--version").stdout.strip() == __version__
