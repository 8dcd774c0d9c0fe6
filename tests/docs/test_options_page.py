"""docs/options.md lists every option that the code knows, with its default."""
from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from conftest import ROOT
from pages import tables_of

from liif_basicsr.archs.registry import ARCHS, ENCODERS
from liif_basicsr.config import schema
from liif_basicsr.config.options import REQUIRED, Field
from liif_basicsr.data.degradations import DEGRADATIONS, fields_of
from liif_basicsr.plugin.registry import entries

PAGE = tables_of(ROOT / "docs" / "options.md")
NO_OPTION = "–"
TABLE: dict[str, dict[str, Any]] = {}
for _registry, _name, _entry in entries():
    TABLE.setdefault(_registry, {})[_name] = _entry


def shown(default: Any) -> str:
    """A default as the page has it."""
    if default in (REQUIRED, inspect.Parameter.empty):
        return "required"
    if default is None:
        return "~"
    if isinstance(default, str):
        return default
    plain = list(default) if isinstance(default, tuple) else default
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def defaults(fields: Mapping[str, Field]) -> dict[str, str]:
    return {name: shown(field.default) for name, field in fields.items()}


def documented(*headings: str, column: int = 0) -> dict[str, str]:
    """Options and defaults below some headings; those below a later one replace those of an earlier one."""
    rows = [row for heading in headings for row in PAGE.get(heading, {}).items()]
    found = {name: cells[column] for name, cells in rows}
    return {name: default for name, default in found.items() if default != NO_OPTION}


def part(table: str, name: str) -> Any:
    return TABLE[table][name]


def signature(cls: type) -> dict[str, str]:
    return {name: shown(parameter.default) for name, parameter in inspect.signature(cls).parameters.items()}


@pytest.mark.parametrize("name", ARCHS)
def test_networks(name):
    assert documented(name) == signature(part("ARCH_REGISTRY", name))


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(name):
    cls = ENCODERS[name]
    assert documented(name) == signature(cls)


@pytest.mark.parametrize("name", TABLE["DATASET_REGISTRY"])
@pytest.mark.parametrize(("column", "fields"), [(0, "train_fields"), (1, "val_fields")])
def test_datasets(name, column, fields):
    expected = defaults(getattr(part("DATASET_REGISTRY", name), fields))
    assert documented("Every dataset", name, column=column) == expected


@pytest.mark.parametrize("name", TABLE["MODEL_REGISTRY"])
def test_blocks_of_models(name):
    """What a model adds to a block stands below a heading such as 'train of LIIFModel'."""
    cls = part("MODEL_REGISTRY", name)
    for block in ("path", "train", "logger"):
        assert documented(block, f"{block} of {name}") == defaults(getattr(cls, f"{block}_fields"))
    for column, required in enumerate(schema.PIPELINE_VAL):
        fields = {**cls.val_fields, **required}
        assert documented("val", f"val of {name}", column=column) == defaults(fields)


@pytest.mark.parametrize(("column", "fields"), list(enumerate(schema.PIPELINE_TOP)))
def test_top_level(column, fields):
    assert documented("Top level", column=column) == defaults(fields)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_degradations(name):
    assert documented("Every degradation", name) == defaults(fields_of(name))


def test_blocks_in_blocks():
    assert documented("teacher") == defaults(schema.TEACHER)
