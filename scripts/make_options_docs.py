"""Write docs/options.md and options/schema.json from the pydantic models of the options.

    python scripts/make_options_docs.py

A test checks that both files are up to date.
"""
from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from liif_basicsr.archs.registry import ARCHS, ENCODERS
from liif_basicsr.config import datasets, training
from liif_basicsr.config.base import arguments_model, describe
from liif_basicsr.config.degradations import DegradationOptions
from liif_basicsr.config.file import TestFile, TrainingFile
from liif_basicsr.data.degradations import DEGRADATIONS
from liif_basicsr.plugin.registry import entries

ROOT = Path(__file__).resolve().parents[1]
PAGE, SCHEMA = ROOT / "docs" / "options.md", ROOT / "options" / "schema.json"
Model = type[BaseModel]

# Dataset -> models of its options in training and in validation.
DATASETS: dict[str, tuple[Model, Model]] = {
    name: (cls.train_options, cls.val_options)
    for name, cls in sorted((name, cls) for registry, name, cls in entries() if registry == "DATASET_REGISTRY")
}
EVERY_DATASET = (datasets.TrainingSet, datasets.ValidationSet)
SCHEDULERS = (training.MultiStepLR, training.CosineAnnealingRestartLR)
BASICSR_LOSSES = (training.Loss, training.PerceptualLoss, training.GANLoss)
# Options that BasicSR sets itself. Options files do not contain them.
RUNTIME = {"phase"}


def networks() -> dict[str, Model]:
    """Return a pydantic model of each network's arguments, by name of the network."""
    return {name: arguments_model(cls) for name, cls in ARCHS.items()}


def encoders() -> dict[str, Model]:
    """Return a pydantic model of each encoder's arguments, by name of the encoder."""
    return {name: arguments_model(cls) for name, cls in ENCODERS.items()}


def losses() -> dict[str, Model]:
    """Return the models of the arguments of the plugin's losses, by name of the loss."""
    found = sorted((name, entry) for registry, name, entry in entries() if registry == "LOSS_REGISTRY")
    return {name: arguments_model(entry) for name, entry in found}


# --- docs/options.md


def page() -> str:
    """Return the text of docs/options.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Options"
    yield ""
    yield "<!-- Written by scripts/make_options_docs.py from the models in liif_basicsr/config; do not edit. -->"
    yield ""
    yield (
        "[Top level](#top-level) · [datasets](#datasets) · [network_g](#network_g) · [Encoders](#encoders) ·\n"
        "[path](#path) · [train](#train) · [val](#val) · [logger](#logger)"
    )
    yield ""
    yield _wrapped(
        "This page lists all options that an options file may contain. `required` marks options without a default, "
        "\"–\" marks options that do not exist in that phase, and `~` is YAML's null. Unknown options are errors. "
        "YAML reads numbers such as `1e-4` as text: write `!!float 1e-4`."
    )
    yield ""
    yield _wrapped(
        "Editors can complete and check options files with [options/schema.json](../options/schema.json): start a file "
        "with `# yaml-language-server: $schema=` and the schema's path or URL."
    )
    intro = "Options of `train.py` (training) and `test.py` (testing)."
    yield from _section("## Top level", {"training": TrainingFile, "testing": TestFile}, intro)
    yield ""
    yield _wrapped(
        "Four more options may be set at this level. `scale` is used by each dataset that has no `scales`. `network_d` "
        "is the block of LIIFGANModel's discriminator. `dist_params` and `find_unused_parameters` are BasicSR's."
    )
    yield from ("", "## datasets")
    yield from _phases("### Every dataset", EVERY_DATASET)
    for name, models in DATASETS.items():
        yield from _phases(f"### {name}", models, _own_docs(name), skip=EVERY_DATASET)
    yield from _section("#### Pairs", {"default": datasets.ExpectedPairs})
    yield from ("", "### degradation", "")
    yield _wrapped(
        "The value is a block, a type alone (`degradation: photo`), or JPEG with a quality or a range of qualities "
        "(`jpeg:60`, `jpeg:30-90`). [The data page](data.md#degradations) describes each degradation. Ranges are "
        "[lowest, highest]. In `realesrgan`, options whose name ends in 2 apply to the second round of degradation."
    )
    yield from _section("#### Every degradation", {"default": DegradationOptions}, intro="")
    for name, cls in DEGRADATIONS.items():
        yield from _section(f"#### {name}", {"default": cls.Options}, intro="", skip=(DegradationOptions,))
    yield from ("", "## network_g", "")
    yield _wrapped(
        "The block contains `type` and the arguments of a network. Other architectures in BasicSR's registry work if "
        "they have a method `render`."
    )
    for name, model in networks().items():
        yield from _section(f"### {name}", {"default": model}, intro=_summary(ARCHS[name]))
    yield from ("", "## Encoders")
    for name, model in encoders().items():
        yield from _section(f"### {name}", {"default": model}, intro=_summary(ENCODERS[name]))
    yield from _section("## path", {"default": training.Path})
    yield from _section("### path of LIIFGANModel", {"default": training.GANPath}, skip=(training.Path,))
    yield from _section("## train", {"default": training.Train})
    yield from _section("### train of LIIFGANModel", {"default": training.GANTrain}, skip=(training.Train,))
    yield from _section("### teacher", {"default": training.Teacher})
    yield from _section("### optim_g", {"default": training.GeneratorOptimizer})
    for scheduler in SCHEDULERS:
        yield from _section(f"### {scheduler.__name__}", {"default": scheduler})
    for loss in BASICSR_LOSSES:
        yield from _section(f"### {loss.__name__}", {"default": loss})
    for name, model in losses().items():
        yield from _section(f"### {name}", {"default": model}, intro=_own_docs(name))
    yield from _section("## val", {"training": training.TrainVal, "testing": training.Val}, training.Val.__doc__ or "")
    yield from _section("### metrics", {"default": training.Metric})
    yield from _section("## logger", {"default": training.Logger})


def _phases(heading: str, models: Sequence[Model], intro: str = "", skip: Sequence[Model] = ()) -> Iterator[str]:
    return _section(heading, dict(zip(("training", "validation"), models, strict=True)), intro, skip)


def _section(
    heading: str, models: Mapping[str, Model], intro: str | None = None, skip: Sequence[Model] = ()
) -> Iterator[str]:
    """Yield a heading, an introduction and a table of options.

    Args:
        heading: Markdown heading.
        models: title of a column of default values -> model of the options.
        intro: the introduction; None takes the docstring of the first model.
        skip: models whose options are left out, because another section lists them.
    """
    yield from ("", heading, "")
    first = next(iter(models.values()))
    text = " ".join((first.__doc__ or "").split()) if intro is None else intro
    if text:
        yield from (_wrapped(text), "")
    elsewhere = {name for model in skip for name in model.model_fields}
    names = dict.fromkeys(name for model in models.values() for name in model.model_fields)
    rows = [name for name in names if name not in elsewhere and name not in RUNTIME]
    yield f"| option | value | {' | '.join(models)} | meaning |"
    yield "|---|---|" + "---|" * (len(models) + 1)
    for name in rows:
        owner = next(model for model in models.values() if name in model.model_fields)
        defaults = " | ".join(_default(model, name) for model in models.values())
        meaning = (owner.model_fields[name].description or "").replace("|", "\\|")
        yield f"| `{name}` | {_values(owner, name)} | {defaults} | {meaning} |"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _default(model: Model, name: str) -> str:
    field = model.model_fields.get(name)
    if field is None:
        return "–"
    if field.is_required():
        return "required"
    if isinstance(field.default, str):
        return f"`{field.default}`"
    plain = list(field.default) if isinstance(field.default, tuple) else field.default
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
    return "`~`" if text == "null" else f"`{text}`"


def _values(model: Model, name: str) -> str:
    """Return the accepted values of an option, in words."""
    schema = model.model_json_schema()
    accepted = schema["properties"][name]
    alternatives = [accepted] if "expected" in accepted else accepted.get("anyOf", [accepted])
    parts = [part for part in alternatives if part.get("type") != "null"]
    text = " or ".join(dict.fromkeys(describe(part, schema.get("$defs", {})) for part in parts))
    return "" if text == "a value" else text.removeprefix("one of ").replace("|", "\\|")


def _summary(entry: object) -> str:
    """Return the first paragraph of a docstring, in one line."""
    return " ".join((entry.__doc__ or "").strip().split("\n\n")[0].split())


def _own_docs(name: str) -> str:
    return next(_summary(entry) for _, known, entry in entries() if known == name)


# --- options/schema.json


def schema() -> dict[str, Any]:
    """Return the JSON schema of options files."""
    parts: dict[str, Model] = {
        **{f"network {name}": model for name, model in networks().items()},
        **{f"encoder {name}": model for name, model in encoders().items()},
        **{f"degradation {name}": cls.Options for name, cls in DEGRADATIONS.items()},
        **{f"training set {name}": models[0] for name, models in DATASETS.items()},
        **{f"validation set {name}": models[1] for name, models in DATASETS.items()},
        "Train": training.Train, "GANTrain": training.GANTrain, "Path": training.Path, "GANPath": training.GANPath,
        "Val": training.Val, "Logger": training.Logger, "file": TrainingFile,
    }  # fmt: skip
    found, definitions = models_json_schema([(model, "validation") for model in parts.values()])
    defs = definitions["$defs"]
    refs = {label: found[(model, "validation")] for label, model in parts.items()}

    def named(prefix: str) -> dict[str, Any]:
        """Return references by name, and add the property `type` to each of their definitions."""
        chosen = {label.removeprefix(f"{prefix} "): ref for label, ref in refs.items() if label.startswith(prefix)}
        for name, ref in chosen.items():
            block = defs[ref["$ref"].rpartition("/")[2]]
            block["properties"] = {**block.get("properties", {}), "type": {"const": name}}
            required = dict.fromkeys(["type", *block.get("required", [])])
            block["required"] = [key for key in required if key not in RUNTIME]
            for key in RUNTIME:
                block["properties"].pop(key, None)
        return chosen

    by_encoder, by_degradation = _choice(named("encoder"), others=False), _choice(named("degradation"), others=False)
    degradation = {"anyOf": [{"type": "string"}, {"type": "null"}, by_degradation]}
    by_network = _choice(named("network"), others=True)
    other_arch = {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}
    for definition in defs.values():
        properties = definition.get("properties", {})
        for key, block in (("encoder", by_encoder), ("arch", other_arch), ("degradation", degradation)):
            if key in properties:
                description = properties[key].get("description")
                properties[key] = {**block, **({"description": description} if description else {})}
        if "parts" in properties:
            properties["parts"]["items"] = {"anyOf": [{"type": "string"}, {"type": "object"}]}
    file = defs.pop(refs["file"]["$ref"].rpartition("/")[2])
    top = file["properties"]
    top["network_g"] = by_network
    top["datasets"] = {
        "type": "object",
        "description": top["datasets"]["description"],
        "properties": {"train": _choice(named("training set"), others=True)},
        "patternProperties": {"^(val|test)(_.*)?$": _choice(named("validation set"), others=True)},
        "additionalProperties": False,
    }
    blocks = {"path": "Path", "train": "Train", "val": "Val", "logger": "Logger"}
    for key in blocks:
        top[key] = {"type": ["object", "null"] if key == "val" else "object", "description": top[key]["description"]}
    rules = []
    for model, changed in (("LIIFModel", {}), ("LIIFGANModel", {"path": "GANPath", "train": "GANTrain"})):
        owned = {key: refs[changed.get(key, name)] for key, name in blocks.items()}
        owned["val"] = {"anyOf": [owned["val"], {"type": "null"}]}
        condition = {"properties": {"model_type": {"const": model}}, "required": ["model_type"]}
        rules.append({"if": condition, "then": {"properties": owned}})
    return _plain({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Options of liif_basicsr",
        "type": "object",
        "required": ["name", "model_type", "num_gpu", "datasets", "network_g", "path"],
        "properties": top,
        "allOf": rules,
        "$defs": defs,
    })  # fmt: skip


def _choice(refs: Mapping[str, Any], others: bool) -> dict[str, Any]:
    """Return the schema of a block whose `type` selects one of `refs`.

    Args:
        refs: type -> reference to the schema of its options.
        others: allow further types, whose options are not checked.
    """
    names = {"enum": list(refs)}
    selected = {name: {"properties": {"type": {"const": name}}, "required": ["type"]} for name in refs}
    rules = [{"if": selected[name], "then": ref} for name, ref in refs.items()]
    kind = {"anyOf": [names, {"type": "string"}]} if others else names
    return {"type": "object", "required": ["type"], "properties": {"type": kind}, "allOf": rules}


def _plain(value: Any) -> Any:
    """Remove pydantic's titles, and the keys that are not part of JSON Schema."""
    if isinstance(value, Mapping):
        drop = {"expected", "discriminator"} | ({"title"} if isinstance(value.get("title"), str) else set())
        top = "$schema" in value
        return {key: _plain(item) for key, item in value.items() if key not in drop or (top and key == "title")}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def schema_text() -> str:
    """Return the text of options/schema.json."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(schema_text(), encoding="utf-8")
