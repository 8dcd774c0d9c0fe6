"""Test as BasicSR does, after checking the options."""
from __future__ import annotations

import runpy
import sys

ORDER = 11


def launch(argv: list[str]) -> int:
    """Run `python -m liif_basicsr.test` with the command's arguments."""
    sys.argv = argv
    runpy.run_module("liif_basicsr.test", run_name="__main__", alter_sys=True)
    return 0
