"""Read and check the options file before BasicSR does.

BasicSR's reader runs code that is named by a tag such as `!!python/object/apply`. Files with such tags are rejected.
"""
from __future__ import annotations

import argparse
import ast
import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
import yaml
from basicsr.utils.options import _postprocess_yml_value, parse_options
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

from liif_basicsr.config.base import similar, validate
from liif_basicsr.config.datasets import PipelineDataset, PipelineTrainingSet
from liif_basicsr.config.file import TestFile, TrainingFile, check_top_level
from liif_basicsr.data.prefetch import check_prefetching
from liif_basicsr.devices import unfit_driver
from liif_basicsr.errors import LIIFError, errors_about, suggest
from liif_basicsr.registration import ENTRIES


def check(args: argparse.Namespace, is_train: bool) -> None:
    """Check the options in the file that `-opt` names, after the changes that `--force_yml` makes to them.

    Args:
        args: the result of `liif_basicsr.launch.parse`.
        is_train: whether the file is for training, not for testing.

    Raises:
        LIIFError: the file is unreadable, not YAML or not plain data, or an option is missing or invalid.
    """
    opt = read(args.opt)
    for entry in args.force_yml:
        force(opt, entry)
    with errors_about(args.opt):
        check_blocks(opt, is_train, args.debug)


class OptionsLoader(yaml.SafeLoader):
    """YAML loader that accepts only plain data, with strings as option names, and rejects an option that is set twice.

    Other YAML loaders keep the last value of such an option.
    """

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """Return the node of a mapping, and raise LIIFError if a key is not a string or occurs twice.

        Keys that `<<` merges into the mapping do not count.
        """
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                shown = key.value if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
                raise LIIFError(f"option names must be strings, got {shown}; quote it or remove it")
            if key.value in lines:
                raise LIIFError(f"option {key.value!r} is set in lines {lines[key.value]} and {line}; remove one")
            lines[key.value] = line
        return node


def read(path: str) -> dict[str, Any]:
    """Read a YAML file of plain data.

    Raises:
        LIIFError: the file is unreadable or not YAML, contains tags that create objects, or sets an option twice.
    """
    try:
        with open(path, encoding="utf-8") as file:
            opt = yaml.load(file, Loader=OptionsLoader)
    except OSError as error:
        raise LIIFError(f"{path}: cannot be read: {error.strerror}") from None
    except LIIFError as error:
        raise LIIFError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise LIIFError(f"{path}: not an options file, or not a safe one: {' '.join(str(error).split())}") from None
    if not isinstance(opt, Mapping):
        raise LIIFError(f"{path}: not an options file; expected a YAML mapping")
    return dict(opt)


def force(opt: dict[str, Any], entry: str) -> None:
    """Change an option as `--force_yml block:option=value` does. Reject values that BasicSR would run as code."""
    keys, equals, value = entry.partition("=")
    *path, key = (name.strip() for name in keys.split(":"))
    value = value.strip()
    target: Any = opt
    for name in path:
        target = target.get(name) if isinstance(target, Mapping) else None
    plain = all(re.fullmatch(r"[\w.-]+", name) for name in (*path, key))
    if not (equals and plain and "=" not in value and isinstance(target, dict)):
        raise LIIFError(f"--force_yml {entry}: expected block:option=value with a block of the options file")
    try:
        if value.startswith("["):
            ast.literal_eval(value)
        target[key] = _postprocess_yml_value(value)
    except (ValueError, SyntaxError):
        raise LIIFError(f"--force_yml {entry}: the value must be a number, text, or a list of these") from None


def check_blocks(opt: dict[str, Any], is_train: bool, debug: bool = False) -> None:
    """Check everything that BasicSR's pipeline reads, and the blocks of the plugin's models.

    Raises:
        LIIFError: an option is misspelled, missing or invalid.
    """
    validate(TrainingFile if is_train else TestFile, opt)
    check_top_level(opt)
    check_num_gpu(opt["num_gpu"])
    check_folders(opt["path"])
    if is_train and "val" in opt and opt["val"] is None and (debug or "debug" in opt["name"]):
        expected = "expected a block of options, because BasicSR's debug mode changes options in it"
        raise LIIFError(f"val: {expected}; remove the line `val: ~`")
    check_datasets(opt["datasets"], is_train)
    name = opt["model_type"]
    if name not in MODEL_REGISTRY:
        raise LIIFError(f"model_type: unknown model {name!r}{suggest(name, MODEL_REGISTRY.keys())}")
    model = MODEL_REGISTRY.get(name)
    samples = opt["datasets"]["train"]["type"] if is_train else None
    if samples in ENTRIES["DATASET_REGISTRY"] and model.__module__.startswith("basicsr."):
        raise LIIFError(f"model_type: {name} cannot train on {samples}, which samples pixels; use LIIFModel, or a "
                        "dataset of BasicSR")  # fmt: skip
    if hasattr(model, "check_options"):  # other models check their options when they are built
        model.check_options({**opt, "is_train": is_train})
    if not is_train and not opt["val"]["save_img"] and not opt["val"].get("metrics"):
        raise LIIFError("val: the test would compute no metrics and save no images; set metrics, or save_img: true")


def check_folders(path: Mapping[str, Any]) -> None:
    """Raise LIIFError if the options set a folder that BasicSR replaces with its own."""
    ours = {"models", "training_states", "log", "visualization"}
    for root in ("experiments_root", "results_root"):
        if f"get('{root}')" not in inspect.getsource(parse_options):  # only BasicSR's git master reads this option
            ours.add(root)
    for key in path:
        if key in ours:
            ignores = "this version of BasicSR ignores the option and writes below the current folder"
            raise LIIFError(f"path: {key}: {ignores}; remove it")


def check_num_gpu(count: int | str) -> None:
    """Raise LIIFError if GPUs are requested and torch cannot use any."""
    if isinstance(count, int) and count and not torch.cuda.is_available():
        cause = unfit_driver() or "torch finds no GPU"
        raise LIIFError(f"num_gpu: expected auto or 0, got {count}: {cause}")


def check_datasets(datasets: Mapping[str, Any], is_train: bool) -> None:
    """Raise LIIFError for a dataset that BasicSR's pipeline cannot use."""
    if is_train and "train" not in datasets:
        raise LIIFError(f"datasets: option 'train' is missing{similar('train', datasets)}")
    phases = ("train", "val") if is_train else ("test", "val")
    for phase, dataset in datasets.items():
        where = f"datasets: {phase}"
        kind = str(phase).split("_")[0]
        if kind not in phases or (kind == "train") != (phase == "train"):
            raise LIIFError(f"{where}: unknown phase; expected {' or '.join(phases)}, or a name such as {phases[-1]}_1")
        block = validate(PipelineTrainingSet if phase == "train" else PipelineDataset, dataset, where)
        if block.type not in DATASET_REGISTRY:
            raise LIIFError(f"{where}: unknown dataset {block.type!r}{suggest(block.type, DATASET_REGISTRY.keys())}")
        check_prefetching(getattr(block, "prefetch_mode", None), where)
