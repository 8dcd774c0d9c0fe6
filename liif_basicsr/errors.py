"""The one exception for bad input, and what others say about it in its form."""
from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

# What BasicSR and torch raise about options that they do not like.
OF_OPTIONS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NotImplementedError,
    TypeError, ValueError,
)  # fmt: skip


class LIIFError(ValueError):
    """Bad input: one line that names the file, key or option and says what to do."""


class OthersEnded(LIIFError):
    """Communication with another process of the run failed."""


@contextmanager
def errors_in(where: str, *more: type[Exception]) -> Iterator[None]:
    """What BasicSR and torch say about a block's options, as one line that names the block.

    Args:
        where: how to call the block.
        more: kinds of errors that are about the options too, beside `OF_OPTIONS`.
    """
    kinds: tuple[type[Exception], ...] = (*OF_OPTIONS, *more)
    try:
        yield
    except LIIFError:
        raise
    except kinds as error:
        raise LIIFError(f"{where}: {brief(error)}") from error


def brief(error: Exception) -> str:
    """The first line of what an exception says, or its kind where it says nothing."""
    text = str(error).strip()
    if isinstance(error, KeyError) and error.args:
        # BasicSR's registries say a sentence; all others name the key alone.
        text = str(error.args[0]) if " " in str(error.args[0]) else f"option {error} is missing or unknown"
    return text.splitlines()[0][:200] if text else type(error).__name__


def run_script(name: str, work: Callable[[], int | None], if_interrupted: str) -> int:
    """Run a script and report bad input, or an interrupt, in one line.

    Returns:
        Exit status: the work's own (0 where it returns None), 1 for bad input, 130 when interrupted.
    """
    try:
        return work() or 0
    except LIIFError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted; {if_interrupted}", file=sys.stderr)
        return 130


def suggest(name: object, known: Iterable[str]) -> str:
    """End a message about an unknown name: the most similar known one, and all of them."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {close[0]!r}? Available: " if close else "; available: "
    return hint + ", ".join(names) if names else ""
