"""Exception hook that prints a LIIFError as one line, without traceback, in any script that imports BasicSR."""
from __future__ import annotations

import sys
from types import TracebackType

from liif_basicsr.errors import LIIFError, print_error


def install() -> None:
    """Install the hook, once. An uncaught LIIFError then prints one line and ends the process with status 2."""
    if getattr(sys.excepthook, "__module__", None) == __name__:
        return
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not isinstance(error, LIIFError):
            previous(kind, error, traceback)
            return
        print_error(error)
        if not hasattr(sys, "ps1"):  # an interactive session continues
            sys.exit(2)

    sys.excepthook = hook
