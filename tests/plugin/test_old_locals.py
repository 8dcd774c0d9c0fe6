"""`old_locals` restores `exec` and `locals` in functions named `get_version`, and changes nothing else."""
from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, clean_environ

# Code that is common in setup.py files, BasicSR's among them.
READS_ITS_VERSION = """
def get_version():
    exec(compile("__version__ = '1.2'", "version.py", "exec"))
    return locals()['__version__']
print(get_version(), get_version())
"""
# Each line prints a result, which must be the same with and without the replacement.
EVERYTHING_ELSE = """
import sys
def other(a):
    b = 2
    exec("c = a + b")
    exec("b = 7")
    d = locals()
    d["e"] = 5
    return sorted(name for name in d if name != "d"), b, "e" in locals()
print(other(1))
exec("x = 1")
print(x, locals() is globals(), "x" in locals())
space, local = {"y": 1}, {}
exec("z = y", space)
exec("w = y", space, local)
print(space["z"], local, "__builtins__" in space)
class Body:
    exec("inside = 3")
    q = locals()["inside"]
    locals()["r"] = 4
print(Body.inside, Body.q, Body.r)
def outer():
    free = 1
    def inner():
        print(free)
    exec(inner.__code__, closure=inner.__closure__) if sys.version_info >= (3, 11) else inner()
outer()
print([sorted(locals()) for k in range(1)])
try:
    exec("raise KeyError('raised')")
except KeyError as error:
    print(error)
try:
    exec("1", [])
except TypeError:
    print("no namespace")
"""


def runs(python: str) -> bool:
    """Return whether a Python runs. It may exist and not run, because pyenv has shims for missing versions too."""
    return shutil.which(python) is not None and not subprocess.run([python, "-c", ""], capture_output=True).returncode


PYTHONS = [sys.executable, *filter(runs, ("python3.10", "python3.12", "python3.13", "python3.14", "python3.15"))]


def run(python: str, code: str, hook: Path | None) -> str:
    env = {**clean_environ(), **({} if hook is None else {"PYTHONPATH": str(hook)})}
    command = [python, "-c", code]
    done = subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with `old_locals` as `sitecustomize`, as in the build."""
    shutil.copy(ROOT / "liif_basicsr" / "plugin" / "old_locals.py", tmp_path / "sitecustomize.py")
    return tmp_path


@pytest.mark.parametrize("python", PYTHONS)
def test_locals_in_get_version_include_assigned_names(python: str, hook: Path) -> None:
    assert run(python, READS_ITS_VERSION, hook) == "1.2 1.2\n"


@pytest.mark.parametrize("python", PYTHONS)
def test_other_code_behaves_as_before(python: str, hook: Path) -> None:
    without = run(python, EVERYTHING_ELSE, None)
    assert without.endswith("raised'\nno namespace\n")
    assert run(python, EVERYTHING_ELSE, hook) == without
