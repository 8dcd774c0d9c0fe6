"""`python -m liif_basicsr install-basicsr` installs the released BasicSR, even where pip alone fails.

BasicSR is released only as source, and its setup.py causes two problems. It fails on Python 3.13 and newer (see
`old_locals`). And it requires torch, so pip would download torch once more for the build environment. This command
therefore builds the wheel without pip's build environment, with setuptools in a temporary folder. Then it installs the
wheel with pip. BasicSR's source is not changed.

The command needs only Python and pip, so it can be run in a clone before anything is installed.
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
        description="Install BasicSR unless it is already installed. Further arguments are passed to pip, such as `.` "
        "or `--editable '.[test]'` in a clone of the plugin.",
    )  # fmt: skip
    parser.add_argument("--basicsr", metavar="REQUIREMENT", help=f"pip requirement of BasicSR (default: {BASICSR})")
    args, rest = parser.parse_known_args()
    try:
        install(args.basicsr, rest)
    except LIIFError as error:
        print(f"liif_basicsr: error: {error}", file=sys.stderr)
        return 2
    return 0


def install(basicsr: str | None, rest: list[str]) -> None:
    """Install BasicSR, together with the requirements in `rest`.

    Args:
        basicsr: pip requirement of BasicSR; None installs `BASICSR` unless some version of BasicSR is installed.
        rest: arguments for `pip install`, such as further requirements.

    Raises:
        LIIFError: pip is missing or fails, or this version of Python is not supported.
    """
    check_python()
    wanted = basicsr or (None if installed("basicsr") else BASICSR)
    if wanted is None and not rest:
        print(f"basicsr {installed('basicsr')} is already installed; use --basicsr to install another version")
        return
    with tempfile.TemporaryDirectory(prefix="basicsr-") as folder:
        wheels = [] if wanted is None else [str(build(wanted, Path(folder)))]
        pip("install", *wheels, *rest)


def installed(distribution: str) -> str | None:
    """Return the version of a distribution, or None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def check_python() -> None:
    """Raise LIIFError if this Python cannot be used. This check comes before any large download."""
    this = f"Python {platform.python_version()} ({sys.executable})"
    if sys.version_info < MINIMUM:
        raise LIIFError(f"{this} is too old; use Python {'.'.join(map(str, MINIMUM))} or newer")
    if find_spec("pip") is None:
        raise LIIFError(f"{this} has no pip; run `{sys.executable} -m ensurepip` or `uv pip install pip`")
    if installed("torch") is None and not has_wheel("torch"):
        raise LIIFError(f"pip finds no torch for {this}; use an older Python, or check pip's access to a package index")


def has_wheel(distribution: str) -> bool:
    """Return whether pip finds a wheel of a distribution for this Python. Takes a second and downloads nothing."""
    command = [sys.executable, "-m", "pip", "index", "versions", "--only-binary=:all:", distribution]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def build(requirement: str, folder: Path) -> Path:
    """Build BasicSR's wheel in a folder, and return the wheel's path. The folder also receives the build tools."""
    folder.mkdir(exist_ok=True)
    tools, hook, wheels = folder / "tools", folder / "hook", folder / "wheels"
    pip("install", "--quiet", "--target", str(tools), *BUILD_TOOLS)
    hook.mkdir()
    if sys.version_info >= (3, 13):
        shutil.copy(Path(__file__).with_name("old_locals.py"), hook / "sitecustomize.py")
    # PIP_USE_PEP517 makes older versions of pip use PEP 517. Newer ones always do, and ignore the variable.
    variables = {"PYTHONPATH": os.pathsep.join([str(hook), str(tools)]), "PIP_USE_PEP517": "1"}
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), requirement, **variables)
    return next(wheels.glob("*.whl"))


def pip(*args: str, **variables: str) -> None:
    """Run pip and show its output."""
    command = [sys.executable, "-m", "pip", *args]
    status = subprocess.run(command, env={**os.environ, **variables}, check=False).returncode
    if status:
        raise LIIFError(f"pip {args[0]} failed with status {status}; see its output above")


if __name__ == "__main__":
    sys.exit(main())
