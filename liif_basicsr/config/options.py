"""Checks the blocks of an options file that the plugin owns, before any time is spent.

A block is described by a table, `{key: Field(...)}`; all tables are in `liif_basicsr.config.schema`. Unknown keys are
errors, with a 'did you mean'.
"""
from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from liif_basicsr.config.base import check_arguments as check_arguments
from liif_basicsr.config.scales import scale_text as scale_text
from liif_basicsr.errors import LIIFError
from liif_basicsr.errors import suggest as suggest

REQUIRED = object()


class Field(NamedTuple):
    """One key of a block: `check(value)` returns the value to use, or raises ValueError with what it must be."""

    check: Callable[[Any], Any]
    default: Any = REQUIRED


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
