"""docs/options.md and options/schema.json are up to date; the schema accepts the options files and rejects mistakes."""
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT
from test_options_files import FILES, OPTIONS, options_of

jsonschema = pytest.importorskip("jsonschema")
SCHEMA = json.loads((OPTIONS / "schema.json").read_text())


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import make_options_docs
    finally:
        sys.path.pop(0)
    return make_options_docs


def test_page_is_up_to_date(script: ModuleType) -> None:
    assert script.PAGE.read_text() == script.page(), "run python scripts/make_options_docs.py"


def test_schema_is_up_to_date(script: ModuleType) -> None:
    assert script.SCHEMA.read_text() == script.schema_text(), "run python scripts/make_options_docs.py"


def problems(opt: dict[str, Any]) -> list[str]:
    return ["/".join(map(str, error.absolute_path)) for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(opt)]


@pytest.mark.parametrize("name", FILES)
def test_options_file_fits_the_schema(name: str) -> None:
    path = OPTIONS / f"{name}.yml"
    first, relative = path.read_text().splitlines()[0].split("$schema=")
    assert first == "# yaml-language-server: "
    assert (path.parent / relative).resolve() == OPTIONS / "schema.json"
    assert not problems(options_of(name))


def change(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(opt: dict[str, Any]) -> None:
        for key in keys[:-1]:
            opt = opt[key]
        opt[keys[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        (change("num_gpu", value="all"), "num_gpu"),
        (change("datasets", "vall", value={}), "datasets"),
        (change("datasets", "train", "lq_sise", value=3), "datasets/train"),
        (change("datasets", "train", "scale_range", value=4), "datasets/train/scale_range"),
        (change("datasets", "val_1", "scales", value=[0.5]), "datasets/val_1/scales"),
        (change("network_g", "hidden_dim", value=3), "network_g"),
        (change("network_g", "scale", value=0), "network_g/scale"),
        (change("network_g", "encoder", value={"type": "EDSRR"}), "network_g/encoder/type"),
        (change("network_g", "encoder", "num_feat", value="64"), "network_g/encoder/num_feat"),
        (change("train", "ema_deccay", value=0.9), "train/ema_deccay"),
        (change("train", "scheduler", "milestones", value=["2e5"]), "train/scheduler"),
        (change("logger", "keep", value=3), "logger"),
        (change("val", "metrics", value=3), "val"),
    ],
)
def test_schema_finds_mistakes(changed: Callable[[dict[str, Any]], None], place: str) -> None:
    opt = deepcopy(options_of("train_liif_edsr"))
    changed(opt)
    assert place in problems(opt)
