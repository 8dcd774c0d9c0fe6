"""Bad input is one line and exit status 2, without a traceback, under any script that has BasicSR train our networks.

`install` is called where BasicSR is imported, and changes nothing before an error ends the process. Then it is ours
- if it is a LIIFError that passed through BasicSR or our model on its way: what a script of BasicSR's kind called;
- if BasicSR's pipeline failed before there was a model, its options name a model of ours, and these have a mistake.
All other errors are printed as ever.
"""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path, PurePath
from types import FrameType, TracebackType

from liif_basicsr.errors import LIIFError

SCRIPTS = ("train", "test")
MODEL_TYPE = re.compile(r"^\s*model_type\s*:\s*[\"']?(\w+)", re.MULTILINE)
PIPELINES = {"train_pipeline": True, "test_pipeline": False}  # BasicSR's functions -> whether they train


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
    """Put the hook in place, once."""
    if getattr(sys.excepthook, "__module__", None) == __name__:
        return
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        mistake = None
        with suppress(Exception):  # whatever fails in here, the error itself is printed
            mistake = bad_input(error, [*frames(traceback)])
        if mistake is None:
            previous(kind, error, traceback)
            return
        tell(error_line(mistake))
        if not hasattr(sys, "ps1"):  # a person who types into Python's own prompt stays there
            sys.exit(2)

    sys.excepthook = hook


def frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    """What an error passed through, the script first."""
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def bad_input(error: BaseException, passed: list[FrameType]) -> LIIFError | None:
    """What to tell in place of an error that passed through these frames, or None."""
    if isinstance(error, LIIFError):
        return error if any(map(_is_basicsr, passed)) or _runs_basicsr_script() else None
    pipeline = next((frame for frame in passed if frame.f_code.co_name in PIPELINES), None)
    if pipeline is None or "model" in pipeline.f_locals or not isinstance(error, Exception):
        return None
    if not names_our_model(sys.argv[1:]):
        return None
    if isinstance(error, OSError) and error.filename:  # of BasicSR's own files: its log, its copy of the options
        return LIIFError(f"{error.filename}: {error.strerror}")
    try:
        import_module("liif_basicsr.launch.options").check(sys.argv[1:], PIPELINES[pipeline.f_code.co_name])
    except LIIFError as mistake:
        return mistake
    return None


def names_our_model(argv: list[str]) -> bool:
    """Whether the options file that these arguments name has LIIFModel, one that extends it, or one misspelt."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-opt")
    path = parser.parse_known_args(argv)[0].opt
    if path is None or not Path(path).is_file():
        return False
    found = MODEL_TYPE.search(Path(path).read_text(encoding="utf-8", errors="replace"))  # it may be no YAML at all
    models = dict(iter(import_module("basicsr.utils.registry").MODEL_REGISTRY))  # it has keys() and no []
    ours = [name for name, model in models.items() if hasattr(model, "check_options")]
    if found is None or found[1] in models:
        return found is not None and found[1] in ours
    return bool(get_close_matches(found[1], ours))


def _is_basicsr(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    return module.partition(".")[0] == "basicsr" or module.startswith("liif_basicsr.models.")


def _runs_basicsr_script() -> bool:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return script is not None and PurePath(script).parts[-2:] in [("basicsr", f"{name}.py") for name in SCRIPTS]
