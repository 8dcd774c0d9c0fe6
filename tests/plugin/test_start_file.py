"""What Python runs at its start: the `.start` file from 3.15 on (PEP 829), the `.pth` before; each says the same.

On an older Python the rules of PEP 829 are followed here: without site.py (-S), each line of each `.start` file is
resolved and called, and an error is printed.
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
    """Runs code in an environment where the hook is started by one of the two."""
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
def test_either_is_switched_off_by_the_variable(start, value: str, seen: str) -> None:
    assert start(SEEN, LIIF_BASICSR_DISABLE=value).stdout == f"{seen}\n"


@pytest.mark.parametrize("lost", [".", "__init__.py", "plugin/startup.py"])
def test_either_is_silent_where_the_package_is_broken(start, installed: Environment, lost: str) -> None:
    (installed.site / "liif_basicsr" / lost).rename(installed.work / "lost")
    done = start("print('works')")
    assert (done.stdout, done.stderr) == ("works\n", "")


def test_the_files_belong_together_and_say_one_thing_each() -> None:
    """PEP 829 passes over the import lines of a `.pth` where a `.start` has the same name."""
    start, pth = sorted(ROOT.glob("*.start")), sorted(ROOT.glob("*.pth"))
    assert [path.stem for path in start] == [path.stem for path in pth] == ["liif_basicsr-startup"]
    assert start[0].read_bytes() == b"_liif_basicsr_startup:start\n"
    assert pth[0].read_bytes() == b"import _liif_basicsr_startup; _liif_basicsr_startup.start()\n"


def test_an_older_python_passes_over_the_start_file(installed: Environment) -> None:
    if sys.version_info >= (3, 15):
        pytest.skip("this Python reads it")
    (installed.site / "liif_basicsr-startup.pth").unlink()
    done = installed.run("-c", SEEN)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_both_beside_each_other_install_one_hook(installed: Environment) -> None:
    shutil.copy(ROOT / "liif_basicsr-startup.pth", installed.site / "again.pth")
    assert installed.run("-c", SEEN).stdout == "True Finder\n"
    assert Path(installed.site / "liif_basicsr-startup.start").is_file()
