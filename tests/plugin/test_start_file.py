"""The files that Python runs when it starts: `.start` from 3.15 on (PEP 829), `.pth` before.

On an older Python the tests emulate PEP 829. They start Python without site.py (-S), resolve and call each line of each
`.start` file, and print errors.
"""
from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Environment

BY_PEP_829 = """
import os, pkgutil, sys, traceback
folder = sys.argv.pop(1)
lines = open(os.path.join(folder, "outer.pth")).read().splitlines()
sys.path += [folder, *(line for line in lines if not line.startswith("import "))]
for line in lines:
    exec(line if line.startswith("import ") else "")
for name in sorted(name for name in os.listdir(folder) if name.endswith(".start")):
    with open(os.path.join(folder, name), encoding="utf-8-sig") as file:
        lines = [line.strip() for line in file]
    for line in lines:
        if line and not line.startswith("#"):
            assert all(line.partition(":")), line
            try:
                pkgutil.resolve_name(line)()
            except Exception:
                traceback.print_exc()
"""
SEEN = (
    "import sys; print('liif_basicsr.plugin.startup' in sys.modules, *"
    "(type(finder).__name__ for finder in sys.meta_path if type(finder).__module__.startswith('liif')))"
)


@pytest.fixture(params=[".pth", ".start"])
def start(request: pytest.FixtureRequest, installed: Environment):
    """Run code in an environment where one of the two files starts the hook."""
    if request.param == ".pth":
        (installed.site / "liif_basicsr-startup.start").unlink()
        return lambda code, **env: installed.run("-c", code, **env)
    if sys.version_info >= (3, 15):
        return lambda code, **env: installed.run("-c", code, **env)
    return lambda code, **env: installed.run("-S", "-c", BY_PEP_829 + code, installed.site, **env)


def test_either_file_installs_the_hook(start) -> None:
    done = start(SEEN)
    assert (done.stdout, done.stderr) == ("True Finder\n", "")
    registered = "import basicsr; print('LIIF' in basicsr.utils.registry.ARCH_REGISTRY)"
    assert start(registered).stdout == "True\n"


@pytest.mark.parametrize(("value", "seen"), [("1", "False"), ("0", "True Finder")])
def test_the_variable_disables_either_file(start, value: str, seen: str) -> None:
    assert start(SEEN, LIIF_BASICSR_DISABLE=value).stdout == f"{seen}\n"


@pytest.mark.parametrize("lost", [".", "__init__.py", "plugin/startup.py"])
def test_either_file_ignores_a_broken_package(start, installed: Environment, lost: str) -> None:
    (installed.site / "liif_basicsr" / lost).rename(installed.work / "lost")
    done = start("print('works')")
    assert (done.stdout, done.stderr) == ("works\n", "")


def test_the_files_have_one_name_and_one_line_each() -> None:
    """According to PEP 829, a `.start` file replaces the import lines of a `.pth` file with the same name."""
    start, pth = sorted(ROOT.glob("*.start")), sorted(ROOT.glob("*.pth"))
    assert [path.stem for path in start] == [path.stem for path in pth] == ["liif_basicsr-startup"]
    assert start[0].read_bytes() == b"_liif_basicsr_startup:start\n"
    assert pth[0].read_bytes() == b"import _liif_basicsr_startup; _liif_basicsr_startup.start()\n"


def test_an_older_python_ignores_the_start_file(installed: Environment) -> None:
    if sys.version_info >= (3, 15):
        pytest.skip("this Python reads it")
    (installed.site / "liif_basicsr-startup.pth").unlink()
    done = installed.run("-c", SEEN)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_both_files_together_install_one_hook(installed: Environment) -> None:
    shutil.copy(ROOT / "liif_basicsr-startup.pth", installed.site / "again.pth")
    assert installed.run("-c", SEEN).stdout == "True Finder\n"
    assert Path(installed.site / "liif_basicsr-startup.start").is_file()
