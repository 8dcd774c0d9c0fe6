"""Train as BasicSR does, after checking the options. Resuming and several processes also work without a GPU."""
from __future__ import annotations

import runpy
import sys

ORDER = 10


def launch(argv: list[str]) -> int:
    """Run `python -m liif_basicsr.train` with the command's arguments."""
    sys.argv = argv
    runpy.run_module("liif_basicsr.train", run_name="__main__", alter_sys=True)
    return 0
