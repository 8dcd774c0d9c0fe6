"""install-basicsr builds the released BasicSR and installs nothing else."""
from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from liif_basicsr.errors import LIIFError
from liif_basicsr.plugin import install_basicsr

# Another test may have imported BasicSR.
pytestmark = pytest.mark.filterwarnings("ignore:Setuptools is replacing distutils:UserWarning")


@pytest.fixture(scope="module")
def index() -> None:
    """Skip the test if no package index can be reached."""
    if not install_basicsr.has_wheel("setuptools"):
        pytest.skip("pip reaches no package index")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Record the calls of pip instead of running it."""
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(install_basicsr, "pip", lambda *args, **variables: asked.append(args))
    monkeypatch.setattr(install_basicsr, "build", lambda requirement, folder: folder / f"{requirement}.whl")
    return asked


def pip_list() -> str:
    return subprocess.run([sys.executable, "-m", "pip", "list"], text=True, capture_output=True, check=True).stdout


def test_the_wheel_contains_the_released_source(index: None, tmp_path: Path) -> None:
    before = pip_list()
    wheel = zipfile.ZipFile(install_basicsr.build(install_basicsr.BASICSR, tmp_path))
    source = tmp_path / "source"
    install_basicsr.pip(
        "download", "-q", "--no-deps", "--no-build-isolation", "--no-binary=basicsr", "--dest", str(source),
        install_basicsr.BASICSR, PYTHONPATH=f"{tmp_path / 'hook'}:{tmp_path / 'tools'}", PIP_USE_PEP517="1",
    )  # fmt: skip
    with tarfile.open(next(source.glob("*.tar.gz"))) as released:
        for member in released:
            name = member.name.partition("/")[2]
            if name.startswith("basicsr/") and name.endswith(".py") and name != "basicsr/version.py":
                assert wheel.read(name) == released.extractfile(member).read(), name
    assert b"__version__ = '1.4.2'" in wheel.read("basicsr/version.py")
    assert pip_list() == before


def test_basicsr_and_other_requirements_are_installed_together(
    calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install_basicsr, "installed", lambda name: None if name == "basicsr" else "2.1")
    install_basicsr.install(None, ["--editable", ".[test]"])
    [(command, wheel, *rest)] = calls
    assert (command, Path(wheel).name, rest) == ("install", "basicsr==1.4.2.whl", ["--editable", ".[test]"])


def test_an_installed_basicsr_is_kept(calls: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    install_basicsr.install(None, ["."])
    assert calls == [("install", ".")]
    install_basicsr.install(None, [])
    assert calls == [("install", ".")]
    assert "is already installed" in capsys.readouterr().out
    install_basicsr.install("basicsr==1.3.4.9", [])
    assert Path(calls[1][1]).name == "basicsr==1.3.4.9.whl"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"version_info": (3, 9, 18)}, "is too old; use Python 3.10 or newer"),
        ({"find_spec": lambda name: None}, "has no pip; run"),
        ({"has_wheel": lambda name: False, "installed": lambda name: None}, "pip finds no torch for Python"),
    ],
)
def test_an_unsupported_python_is_reported_before_installing(
    calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], line: str
) -> None:
    python = SimpleNamespace(version_info=changes.pop("version_info", sys.version_info), executable="python")
    for name, value in {"sys": python, **changes}.items():
        monkeypatch.setattr(install_basicsr, name, value)
    with pytest.raises(LIIFError, match=line):
        install_basicsr.install(None, ["."])
    assert calls == []


def test_a_failing_pip_is_reported_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LIIFError, match=r"^pip install failed with status 1; see its output above$"):
        install_basicsr.pip("install", "--no-index", "no-such-distribution")
    assert "no-such-distribution" in capfd.readouterr().err
