"""Oldest and newest tested versions of Python and of the plugin's dependencies."""
from __future__ import annotations

import re

from liif_basicsr.errors import LIIFError

# Distribution -> oldest and newest version in `scripts/test_matrix.sh`. setup.cfg requires at least the oldest version.
TESTED = {
    "python": ("3.10", "3.13"),
    "torch": ("2.4", "2.14.1"),
    "torchvision": ("0.19", "0.29.1"),
    "basicsr": ("1.3.4.9", "1.4.2"),
    "numpy": ("1.24", "2.5.5"),
    "opencv-python": ("4.8.0.74", "5.0.0.93"),
    "pillow": ("11.3", "13.0.0"),
}


def numbers(version: str) -> list[int]:
    """Return the numbers of a version: [2, 1, 0] for `2.1.0+cu118`."""
    return [int(number) for number in re.findall(r"\d+", version.split("+")[0])]


def is_too_old(distribution: str, version: str) -> bool:
    """Return whether a version is older than the oldest tested version; False for a version without numbers."""
    return distribution in TESTED and [] < numbers(version) < numbers(TESTED[distribution][0])


def check(distribution: str, version: str) -> None:
    """Raise LIIFError if the version is too old."""
    if is_too_old(distribution, version):
        raise LIIFError(f"{distribution} {version} is too old; install {TESTED[distribution][0]} or newer")
