"""Check which teacher and degradation a folder of distillation pairs was made with.

`prepare teach` makes such a folder. It contains lq.lmdb, teacher.lmdb and gt.lmdb, which have the same keys. It
also contains teach.json, the record of the settings that the pairs were made with.
"""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liif_basicsr.config.datasets import ExpectedPairs
from liif_basicsr.data.degradations import Degradation
from liif_basicsr.data.download_hints import PREPARE
from liif_basicsr.errors import LIIFError

KINDS = ("lq", "teacher", "gt")
RECORD = "teach.json"


def read_record(folder: Path) -> dict[str, Any]:
    """Read the settings that the pairs of a folder were made with.

    Raises:
        LIIFError: teach.json is missing or damaged.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        missing = f"{folder} has no {RECORD}, the record of its settings"
        raise LIIFError(f"{missing}; make pairs with `{PREPARE} teach`") from None
    except ValueError:
        raise LIIFError(f"{path} is damaged; make the pairs again in a new folder") from None
    if not isinstance(record, dict) or not isinstance(record.get("scale"), int):
        raise LIIFError(f"{path} is damaged; make the pairs again in a new folder")
    return record


def check_pairs(
    folder: Path, teacher: ExpectedPairs | None, scales: Sequence[tuple[float, float]], where: str
) -> None:
    """Raise unless a folder contains the pairs that a dataset expects.

    Args:
        folder: folder that contains the dataset's low-resolution LMDB. If `teacher` is None, teach.json may be missing.
        teacher: the option `teacher`, such as {path: realesrgan-x4plus, scale: 4, degradation: photo}.
        scales: scales of the dataset.
        where: name of the dataset in messages.
    """
    wanted: dict[str, Any] = {}
    if teacher is not None:
        wanted = {"teacher": teacher.path, "scale": teacher.scale}
        if teacher.degradation is not None:
            wanted["degradation"] = Degradation(teacher.degradation, f"{where}: teacher: degradation").settings
    elif not (folder / RECORD).is_file():
        return
    try:
        record = read_record(folder)
    except LIIFError as error:
        raise LIIFError(f"{where}: dataroot_lq: {error}") from None
    check_record(record, {key: value for key, value in wanted.items() if value is not None}, f"{where}: teacher")
    if any(scale != (record["scale"],) * 2 for scale in scales):
        own = record["scale"]
        raise LIIFError(f"{where}: scales: the pairs in {folder} have scale {own}; set scales: [{own}]")


def check_record(record: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """Raise LIIFError for the first setting in `wanted` that differs from `record`."""
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
        found = f"{key} is {made!r} in the pairs, but {asked!r} in the options"
        raise LIIFError(f"{where}: {found}; change the option or make new pairs")
