"""All parts of the suite, in two sizes."""
from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from faultsuite.checkpoints import checkpoints
from faultsuite.folders import folders
from faultsuite.hangs import hangs
from faultsuite.images import images
from faultsuite.kills import kills
from faultsuite.options import options
from faultsuite.ranks import ranks
from faultsuite.report import Part
from faultsuite.writes import writes

# name -> function that yields the parts, number of trials in the full suite, number in the short one
PARTS = {
    "kills": (kills, 30, 3),
    "writes": (writes, 5, 1),
    "images": (images, 200, 20),
    "checkpoints": (checkpoints, 50, 5),
    "options": (options, 100, 6),
    "ranks": (ranks, 3, 2),
    "hangs": (hangs, 8, 2),
    "folders": (folders, 20, 2),
}


def run_suite(folder: Path, short: bool, seed: int, names: Collection[str] = tuple(PARTS)) -> list[Part]:
    """Run the named parts in an empty folder."""
    parts: list[Part] = []
    for name in names:
        make, full_count, short_count = PARTS[name]
        (folder / name).mkdir()
        parts += make(folder / name, short_count if short else full_count, seed)
    return parts
