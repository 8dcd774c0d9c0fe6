"""Print the lowest versions that setup.cfg allows and that exist for this Python, as constraints for pip.

    python scripts/lowest_versions.py > lowest.txt
    python scripts/lowest_versions.py --installed torch numpy    # installed versions, as cells of a table
"""
from __future__ import annotations

import argparse
import subprocess
import sys
from bisect import bisect_left
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.version import Version

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
# Not constrained: each torchvision requires one version of torch, and other versions of BasicSR have their own test.
LEFT_OUT = ("torch", "basicsr")


def requirements() -> list[Requirement]:
    """Return the requirements in setup.cfg that apply to this Python and set a lowest version."""
    config = ConfigParser(interpolation=None)
    config.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"].split("\n")
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [r for r in wanted if r.specifier and (r.marker is None or r.marker.evaluate())]


def lowest(requirement: Requirement) -> Version:
    """Return the lowest allowed version with a wheel for this Python."""
    command = [*PIP, "index", "versions", requirement.name]
    printed = subprocess.run(command, text=True, capture_output=True, check=True).stdout
    [line] = (line for line in printed.splitlines() if line.startswith("Available versions:"))
    known = (Version(number) for number in line.partition(":")[2].split(","))
    allowed = sorted(number for number in known if number in requirement.specifier)
    # From some version on, all versions have wheels for this Python.
    return allowed[bisect_left(allowed, True, key=lambda number: has_wheel(requirement.name, number))]


def has_wheel(name: str, number: Version) -> bool:
    """Return whether a version has a wheel for this Python."""
    command = [*PIP, "install", "--dry-run", "--ignore-installed", "--no-deps", "--only-binary=:all:"]
    return subprocess.run([*command, f"{name}=={number}"], capture_output=True, check=False).returncode == 0


def installed(name: str) -> str:
    """Return the installed version, or a dash."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"


def main() -> None:
    """Parse the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--installed", nargs="+", metavar="NAME",
                        help="print the installed versions of these packages instead, as cells of a table")  # fmt: skip
    args = parser.parse_args()
    if args.installed:
        print(" | ".join(map(installed, args.installed)))
        return
    for requirement in (r for r in requirements() if r.name not in LEFT_OUT):
        print(f"{requirement.name}=={lowest(requirement)}", flush=True)


if __name__ == "__main__":
    main()
