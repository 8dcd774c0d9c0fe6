"""`python -m liif_basicsr install-basicsr`: installs BasicSR as released, on Pythons too on which pip alone fails to.

BasicSR comes as source, and what is in the way of building it is in its setup.py alone: since Python 3.13 it does not
run (see `old_locals`), and on every Python it asks for torch, which pip would download a second time for the build
although it is not used. So its wheel is built here without a build environment of pip's, from a temporary folder
that holds setuptools; then pip installs the wheel. BasicSR's source stays as it is.

Needs nothing but Python and pip, so that it runs in a clone of which nothing is installed yet.
"""
from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from liif_basicsr.errors import LIIFError

BASICSR = "basicsr==1.4.2"
MINIMUM = (3, 10)
BUILD_TOOLS = ("setuptools>=68", "wheel")


def main() -> int:
    """Run with the arguments in sys.argv."""
    parser = argparse.ArgumentParser(
        prog="python -m liif_basicsr install-basicsr", allow_abbrev=False,
        usage="%(prog)s [--basicsr REQUIREMENT] [pip's arguments ...]",
        description="Installs BasicSR, where it is not installed yet, and with it what pip's arguments name, such as "
        "`.` or `--editable '.[test]'` in a clone of the plugin.",
    )  # fmt: skip
    parser.add_argument("--basicsr", metavar="REQUIREMENT", help=f"which BasicSR, as pip names it (default: {BASICSR})")
    args, rest = parser.parse_known_args()
    try:
        install(args.basicsr, rest)
    except LIIFError as error:
        print(f"liif_basicsr: error: {error}", file=sys.stderr)
        return 2
    return 0


def install(basicsr: str | None, rest: list[str]) -> None:
    """Install BasicSR and what else pip is asked for.

    Args:
        basicsr: a requirement as pip takes it; None for `BASICSR`, unless there is one.
        rest: pip's arguments.

    Raises:
        LIIFError: no pip, a Python that does not fit, or pip failed.
    """
    check_python()
    wanted = basicsr or (None if installed("basicsr") else BASICSR)
    if wanted is None and not rest:
        print(f"basicsr {installed('basicsr')} is installed already; another one is named by --basicsr")
        return
    with tempfile.TemporaryDirectory(prefix="basicsr-") as folder:
        wheels = [] if wanted is None else [str(build(wanted, Path(folder)))]
        pip("install", *wheels, *rest)


def installed(distribution: str) -> str | None:
    """The version of a distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def check_python() -> None:
    """Raise LIIFError where the installation would fail for this Python, before anything large is downloaded."""
    this = f"Python {platform.python_version()} ({sys.executable})"
    if sys.version_info < MINIMUM:
        raise LIIFError(f"{this} is too old; use {'.'.join(map(str, MINIMUM))} or newer")
    if find_spec("pip") is None:
        raise LIIFError(f"{this} has no pip; add it with `{sys.executable} -m ensurepip`, or with `uv pip install pip`")
    if installed("torch") is None and not has_wheel("torch"):
        raise LIIFError(f"pip finds no torch for {this}: it is too new for torch, or pip reaches no package index")


def has_wheel(distribution: str) -> bool:
    """Whether pip finds a version of a distribution that fits this Python; takes a second, downloads nothing."""
    command = [sys.executable, "-m", "pip", "index", "versions", "--only-binary=:all:", distribution]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def build(requirement: str, folder: Path) -> Path:
    """Build BasicSR's wheel into a folder, which is then full of build tools, too."""
    folder.mkdir(exist_ok=True)
    tools, hook, wheels = folder / "tools", folder / "hook", folder / "wheels"
    pip("install", "--quiet", "--target", str(tools), *BUILD_TOOLS)
    hook.mkdir()
    if sys.version_info >= (3, 13):
        shutil.copy(Path(__file__).with_name("old_locals.py"), hook / "sitecustomize.py")
    # What a variable asks for and pip does not know, it passes over: newer ones build by PEP 517 in any case.
    variables = {"PYTHONPATH": os.pathsep.join([str(hook), str(tools)]), "PIP_USE_PEP517": "1"}
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), requirement, **variables)
    return next(wheels.glob("*.whl"))


def pip(*args: str, **variables: str) -> None:
    """Run pip; what it prints is shown."""
    command = [sys.executable, "-m", "pip", *args]
    status = subprocess.run(command, env={**os.environ, **variables}, check=False).returncode
    if status:
        raise LIIFError(f"pip {args[0]} failed (status {status}); what it says is above")


if __name__ == "__main__":
    sys.exit(main())
