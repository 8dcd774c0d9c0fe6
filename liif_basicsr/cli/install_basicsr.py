"""Install BasicSR, also on Python 3.13 and newer."""
from __future__ import annotations

import runpy
import sys

ORDER = 21


def launch(argv: list[str]) -> int:
    """Run `python -m liif_basicsr.plugin.install_basicsr` with the command's arguments."""
    sys.argv = argv
    runpy.run_module("liif_basicsr.plugin.install_basicsr", run_name="__main__", alter_sys=True)
    return 0
