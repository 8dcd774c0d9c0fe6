"""A folder of pairs that a teacher made: what is in it, and what it was made with.

`scripts/prepare_data.py teach` makes it: lq.lmdb, teacher.lmdb and gt.lmdb, with the same keys, and teach.json.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from liif_basicsr.utils.errors import LIIFError

KINDS = ("lq", "teacher", "gt")
RECORD = "teach.json"


def read_record(folder: Path) -> dict[str, Any]:
    """What the pairs of a folder were made with.

    Raises:
        LIIFError: it holds no such record, or a damaged one.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise LIIFError(f"{folder} holds no {RECORD}; scripts/prepare_data.py teach makes pairs with one") from None
    except ValueError:
        raise LIIFError(f"{path} is damaged; make the pairs again") from None
    if not isinstance(record, dict):
        raise LIIFError(f"{path} is damaged; make the pairs again")
    return record


def check_record(record: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """Raise LIIFError, with `where` before it, for the first thing that pairs were made with otherwise than wanted."""
    for key, value in wanted.items():
        made, asked = record.get(key), value
        if made == asked:
            continue
        if isinstance(made, Mapping) and isinstance(asked, Mapping) and made.get("type") == asked.get("type"):
            key, made, asked = next(
                (f"{key}: {k}", made.get(k), asked.get(k)) for k in {**made, **asked} if made.get(k) != asked.get(k)
            )
        elif isinstance(made, Mapping) and isinstance(asked, Mapping):
            made, asked = made.get("type"), asked.get("type")
        raise LIIFError(f"{where}: {key} is {made!r} in the pairs, not {asked!r}; make other pairs, or ask for these")
