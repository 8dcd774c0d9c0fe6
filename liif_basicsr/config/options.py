"""Checks the blocks of an options file that the plugin owns, before any time is spent.

A block is described by a table, `{key: Field(...)}`; all tables are in `liif_basicsr.config.schema`. Unknown keys are
errors, with a 'did you mean'.
"""
from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from liif_basicsr.config.checks import LARGEST_ARGUMENT, boolean, bounded, integer, list_of, number, optional, text
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


def missing(name: str, given: Iterable[object]) -> str:
    """A message about an option that is not there: which of those given may be meant for it."""
    close = difflib.get_close_matches(name, map(str, given), n=1)
    return f"option {name!r} is missing" + (f"; is {close[0]!r} meant for it?" if close else "")


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


def require(options: Mapping[str, Any], fields: Mapping[str, Field], where: str) -> None:
    """Raise LIIFError unless a block has those options that `fields` names, as they must be; it may hold others.

    Args:
        options: the block.
        fields: what is needed.
        where: what stands before an option in messages, such as `train: `.
    """
    for key, field in fields.items():
        if key not in options:
            if field.default is REQUIRED:
                raise LIIFError(f"{where}{missing(key, options)}")
            continue
        try:
            field.check(options[key])
        except ValueError as error:
            raise LIIFError(f"{where}{key}: {error}, not {options[key]!r}") from None


def check_arguments(cls: type, given: Mapping[str, Any], where: str) -> None:
    """Raise LIIFError for an argument that `cls` lacks, has not got, or that is not what its annotation says."""
    known = inspect.signature(cls).parameters
    hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    for key, value in given.items():
        if key not in known:
            raise LIIFError(f"{where}: {cls.__name__} has no argument {key!r}{suggest(key, known)}")
        try:
            check_of(hints.get(key))(value)
        except ValueError as error:
            raise LIIFError(f"{where}: {key}: {error}, not {value!r}") from None
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in given:
            raise LIIFError(f"{where}: {cls.__name__} needs the argument {key!r}")


def check_of(hint: Any) -> Callable[[Any], Any]:
    """The check of a network's argument, from its annotation."""
    origin, kinds = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        check = check_of(kinds[0])  # `list | tuple`: an options file knows lists alone
        return optional(check) if NoneType in kinds else check
    if origin in (list, tuple, Sequence):
        return list_of(check_of(kinds[0]))
    checks = {int: integer(1, LARGEST_ARGUMENT), float: number(0, LARGEST_ARGUMENT), bool: boolean, str: text}
    return checks.get(hint, bounded)


def scale_text(pair: tuple[float, float]) -> str:
    """How a scale is called in folders, tables and `{scale}`: '2', '2.5', '2x3.5'."""
    sy, sx = (f"{s:g}" for s in pair)
    return sy if sy == sx else f"{sy}x{sx}"
