"""Bad input is told in one line, without a traceback, also under BasicSR's own train.py and test.py."""
from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import PurePath

from liif_basicsr.utils.errors import LIIFError

SCRIPTS = ("train", "test")


def error_line(error: LIIFError) -> str:
    """The one line for a person; of what a data worker raised, which holds its traceback, the last line."""
    text = str(error).strip()
    if text.startswith("Caught "):
        text = text.splitlines()[-1].partition(": ")[2]
    return "liif_basicsr: error: " + " ".join(text.split())


def tell(line: str) -> None:
    """Print a line on stderr; where stdout goes to the same file, below what was printed there before."""
    with suppress(OSError):  # a full disk; the line is what matters
        sys.stdout.flush()
    print(line, file=sys.stderr)


def install() -> None:
    """Where BasicSR's own script is what runs, print a LIIFError as one line; all else is as it was."""
    if not _runs_basicsr_script() or getattr(sys.excepthook, "__module__", None) == __name__:
        return
    previous = sys.excepthook

    def hook(kind, error, traceback) -> None:
        if isinstance(error, LIIFError):
            tell(error_line(error))
        else:
            previous(kind, error, traceback)

    sys.excepthook = hook


def _runs_basicsr_script() -> bool:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is None:  # `python -m basicsr.train`: runpy imports basicsr before it sets the file
        return any(f"basicsr.{name}" in sys.orig_argv for name in SCRIPTS)
    return PurePath(script).parts[-2:] in [("basicsr", f"{name}.py") for name in SCRIPTS]
