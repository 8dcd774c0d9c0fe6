"""The exception for bad input, and its messages."""
from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

# Types of the exceptions that BasicSR and torch raise for invalid options.
OPTION_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NotImplementedError,
    TypeError, ValueError,
)  # fmt: skip


class LIIFError(ValueError):
    """Bad input: one line that names the file, key or option and the remedy."""


class OthersEnded(LIIFError):
    """Communication with another process of the run failed."""


@contextmanager
def errors_in(where: str, *more: type[Exception]) -> Iterator[None]:
    """Turn exceptions that BasicSR and torch raise for a block of options into a LIIFError that names the block.

    Args:
        where: name of the block in the message.
        more: types of exceptions to turn into a LIIFError, in addition to OPTION_ERRORS.
    """
    kinds: tuple[type[Exception], ...] = (*OPTION_ERRORS, *more)
    try:
        yield
    except LIIFError:
        raise
    except kinds as error:
        raise LIIFError(f"{where}: {summarize(error)}") from error


@contextmanager
def errors_about(name: object) -> Iterator[None]:
    """Put a name, such as a file's, in front of the message of a LIIFError."""
    try:
        yield
    except LIIFError as error:
        raise LIIFError(f"{name}: {error}") from None


def summarize(error: Exception) -> str:
    """Return the first line of an exception's message, or its type if the message is empty."""
    text = str(error).strip()
    if isinstance(error, KeyError) and error.args:
        # A KeyError of BasicSR's registries contains a sentence. Any other one contains only the key.
        text = str(error.args[0]) if " " in str(error.args[0]) else f"option {error} is missing or unknown"
    return text.splitlines()[0][:200] if text else type(error).__name__


def print_error(error: LIIFError | str) -> None:
    """Print a LIIFError (as one line) or a text on stderr, after everything that was printed on stdout."""
    with suppress(OSError):  # a full disk must not hide the error
        sys.stdout.flush()
    if isinstance(error, LIIFError):
        text = str(error).strip()
        if text.startswith("Caught "):  # raised in a data worker; the last line of its traceback is the error
            text = text.splitlines()[-1].partition(": ")[2]
        error = "liif_basicsr: error: " + " ".join(text.split())
    print(error, file=sys.stderr)


def prepare_streams() -> None:
    """Make stdout and stderr escape characters that the console's encoding lacks. Text for a closed one is dropped."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # may be replaced by an object without this method
            stream.reconfigure(errors="backslashreplace")


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser that raises a one-line LIIFError instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise LIIFError."""
        command = self.prog.partition(" ")[2]
        raise LIIFError(f"{command}: {message}; see `{self.prog} --help`".removeprefix(": "))


def run_script(name: str, work: Callable[[], int | None], if_interrupted: str) -> int:
    """Run a script, and report bad input or an interrupt in one line.

    Args:
        name: name of the script, which starts the message.
        work: function that does the work.
        if_interrupted: end of the message after an interrupt.

    Returns:
        Exit status: what `work` returned (0 for None), 1 for bad input, 130 when interrupted.
    """
    prepare_streams()
    try:
        return work() or 0
    except LIIFError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted; {if_interrupted}", file=sys.stderr)
        return 130


def suggest(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name. It suggests the most similar known name, and lists all."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {close[0]!r}? Available: " if close else "; available: "
    return hint + ", ".join(names) if names else ""
