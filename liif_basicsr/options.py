"""Checks the blocks of an options file that the plugin owns, before any time is spent.

A block is described by a table, `{key: Field(...)}`. Unknown keys are errors, with a 'did you mean'.
"""
from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from liif_basicsr.errors import LIIFError

REQUIRED = object()


class Field(NamedTuple):
    """One key of a block: `check(value)` returns the value to use, or raises ValueError with what it must be."""

    check: Callable[[Any], Any]
    default: Any = REQUIRED


def suggest(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, and all there are."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    return (f"; did you mean {close[0]!r}?" if close else ".") + f" There are: {', '.join(names)}"


def check_block(block: Mapping[str, Any], fields: Mapping[str, Field], where: str) -> dict[str, Any]:
    """Check a block against its table and fill in the defaults.

    Args:
        block: what the options file says.
        fields: what it may say.
        where: how to call the block in messages, such as `datasets: train`.

    Returns:
        A dict with every key of `fields`.

    Raises:
        LIIFError: a key that is unknown or missing, or a value that its field refuses.
    """
    if not isinstance(block, Mapping):
        raise LIIFError(f"{where}: must be a block of options, not {block!r}")
    for key in block:
        if key not in fields:
            raise LIIFError(f"{where}: unknown option {key!r}{suggest(key, fields)}")
    values = {}
    for key, field in fields.items():
        if key not in block:
            if field.default is REQUIRED:
                raise LIIFError(f"{where}: option {key!r} is missing")
            values[key] = field.default
            continue
        try:
            values[key] = field.check(block[key])
        except ValueError as error:
            raise LIIFError(f"{where}: {key}: {error}, not {block[key]!r}") from None
    return values


def check_arguments(cls: type, keys: Iterable[str], where: str) -> None:
    """Raise LIIFError for the first of `keys` that is no argument of `cls`."""
    known = list(inspect.signature(cls).parameters)
    for key in keys:
        if key not in known:
            raise LIIFError(f"{where}: {cls.__name__} has no argument {key!r}{suggest(key, known)}")


def anything(value: Any) -> Any:
    """For keys that BasicSR itself reads."""
    return value


def boolean(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def text(value: Any) -> str:
    """A string with something in it."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text")
    return value


def integer(minimum: int) -> Callable[[Any], int]:
    """A whole number of at least `minimum`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ValueError(f"must be a whole number of at least {minimum}")
        return value

    return check


def number(minimum: float) -> Callable[[Any], float]:
    """A finite number of at least `minimum`."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not minimum <= value < float("inf"):
            raise ValueError(f"must be a number of at least {minimum}")
        return value

    return check


def choice(*names: str) -> Callable[[Any], str]:
    """One of `names`."""

    def check(value: Any) -> str:
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return value

    return check


def optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What `check` takes, or nothing (`~`)."""
    return lambda value: None if value is None else check(value)


def list_of(check: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """A list of what `check` takes."""

    def check_all(value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise ValueError("must be a list")
        return [check(item) for item in value]

    return check_all


def scale(value: Any) -> tuple[float, float]:
    """A scale, or a pair of scales along y and x; each above 0. Returns the pair."""
    pair = value if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2 or any(isinstance(s, bool) or not isinstance(s, (int, float)) or not 0 < s < 1e4 for s in pair):
        raise ValueError("must be a scale above 0, or a pair of them (along y, along x)")
    return pair[0], pair[1]


def scale_text(pair: tuple[float, float]) -> str:
    """How a scale is called in folders, tables and `{scale}`: '2', '2.5', '2x3.5'."""
    sy, sx = (f"{s:g}" for s in pair)
    return sy if sy == sx else f"{sy}x{sx}"
