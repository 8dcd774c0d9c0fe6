"""The versions that the plugin needs, and with which it was tested."""
from __future__ import annotations

import re

from liif_basicsr.errors import LIIFError

# Distribution -> lowest and newest version of `scripts/test_matrix.sh`; the lowest are those of setup.cfg.
TESTED = {
    "python": ("3.10", "3.13"),
    "torch": ("2.4", "2.14.1"),
    "torchvision": ("0.19", "0.29.1"),
    "basicsr": ("1.3.4.9", "1.4.2"),
    "numpy": ("1.24", "2.5.5"),
    "opencv-python": ("4.8.0.74", "5.0.0.93"),
    "pillow": ("10.1", "13.0.0"),
}


def numbers(version: str) -> list[int]:
    """The numbers of a version, `2.1.0+cu118` as [2, 1, 0]."""
    return [int(number) for number in re.findall(r"\d+", version.split("+")[0])]


def tested(distribution: str) -> str | None:
    """The range of versions that was tested, for people."""
    return " to ".join(TESTED[distribution]) if distribution in TESTED else None


def is_too_old(distribution: str, version: str) -> bool:
    """Whether a version is below the lowest that was tested; of one without numbers nothing is known."""
    return distribution in TESTED and [] < numbers(version) < numbers(TESTED[distribution][0])


def check(distribution: str, version: str) -> None:
    """Raise LIIFError for a version that is too old."""
    if is_too_old(distribution, version):
        raise LIIFError(f"{distribution} {version} is too old; {TESTED[distribution][0]} or newer is needed")
