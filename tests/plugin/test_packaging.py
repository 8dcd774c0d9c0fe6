"""Installing from a wheel or in place adds the hook, and uninstalling removes all files."""
from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, STARTUP_FILES, Environment, clean_environ

from liif_basicsr import __version__

NOT_SOURCE = (".*", "build", "*.egg-info", "__pycache__", "basicsr", "datasets", "experiments", "results", "tb_logger")
HOOKED = "import sys; print(sys.modules['liif_basicsr'].__file__, sys.modules['liif_basicsr'].__version__)"
Pip = Callable[..., None]


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, so that building does not change the tree itself."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "tree", ignore=shutil.ignore_patterns(*NOT_SOURCE))


def build(hook: str, source: Path) -> Path:
    """Call the build backend as pip does, without downloading a build environment."""
    code = f"from setuptools import build_meta; build_meta.{hook}({str(source.parent)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    return max(source.parent.glob("*.whl"), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="session")
def wheel(source: Path) -> Path:
    """The wheel of this source tree."""
    return build("build_wheel", source)


@pytest.fixture(scope="session")
def editable_wheel(source: Path) -> Path:
    """The wheel that `pip install --editable` installs."""
    return build("build_editable", source)


@pytest.fixture
def pip(environment: Environment) -> Pip:
    """Run pip in the environment, without the packages installed here."""
    environment.outer.unlink()

    def run(*args: str | Path) -> None:
        command = [sys.executable, "-m", "pip", "--python", environment.python, "-q", *args]
        subprocess.run(command, env=clean_environ(), check=True)

    return run


def installed_files(environment: Environment) -> set[Path]:
    """Return all files of the environment except compiled ones."""
    files = (path for path in environment.site.parents[2].rglob("*") if path.is_file())
    return {path for path in files if "__pycache__" not in path.parts}


def test_the_wheel_contains_the_package_and_the_startup_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"liif_basicsr", f"liif_basicsr-{__version__}.dist-info", *STARTUP_FILES}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "liif_basicsr").rglob("*.py")}
    assert modules == {name for name in names if name.startswith("liif_basicsr/") and name.endswith(".py")}
    assert "liif_basicsr/py.typed" in names


def test_a_wheel_installs_the_hook_and_uninstalls_completely(
    environment: Environment, pip: Pip, wheel: Path
) -> None:
    before = installed_files(environment)
    pip("install", "--no-deps", wheel)
    assert environment.run("-c", HOOKED).stdout.split() == [
        str(environment.site / "liif_basicsr" / "__init__.py"),
        __version__,
    ]
    assert (environment.python.parent / "liif-basicsr").is_file()
    assert all((environment.site / name).is_file() for name in STARTUP_FILES)
    pip("uninstall", "-y", "liif_basicsr")
    assert installed_files(environment) == before


def test_an_editable_install_does_the_same(
    environment: Environment, pip: Pip, source: Path, editable_wheel: Path
) -> None:
    before = installed_files(environment)
    pip("install", "--no-deps", editable_wheel)
    done = environment.run("-c", HOOKED)
    assert done.stdout.split() == [str(source / "liif_basicsr" / "__init__.py"), __version__]
    assert all((environment.site / name).is_file() for name in STARTUP_FILES)
    assert "pathlib" not in environment.run("-c", "import sys; print(*sys.modules)").stdout.split()
    pip("uninstall", "-y", "liif_basicsr")
    assert installed_files(environment) == before
    assert environment.run("-c", "").stderr == ""
