"""Exception hook that prints a LIIFError as one line, without traceback, in any script that imports BasicSR."""
from __future__ import annotations

import re
import sys
from collections.abc import Collection
from types import TracebackType

from liif_basicsr.errors import LIIFError, print_error
from liif_basicsr.plugin.startup import warn

# The AssertionError of BasicSR's registries.
TAKEN = re.compile(r"An object named '(\w+)' was already registered")


def install(names: Collection[str]) -> None:
    """Install the hook, once. An uncaught LIIFError then prints one line and ends the process with status 2.

    Args:
        names: the plugin's names in BasicSR's registries. If another package fails to register one of them, a hint
            follows the traceback.
    """
    if getattr(sys.excepthook, "__module__", None) == __name__:
        return
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not isinstance(error, LIIFError):
            previous(kind, error, traceback)
            taken = TAKEN.match(str(error))
            if taken and taken[1] in names:
                warn(f"the plugin has already registered {taken[1]}; rename yours, or set LIIF_BASICSR_DISABLE=1 to "
                     "run without the plugin")  # fmt: skip
            return
        print_error(error)
        if not hasattr(sys, "ps1"):  # an interactive session continues
            sys.exit(2)

    sys.excepthook = hook
