"""Options files with mistakes: each is reported in one line, or its training runs to the end."""
from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from experiment import make_images, train_options, val_set, write_options
from tqdm import tqdm

from faultsuite.mutate import mutate
from faultsuite.processes import run, train
from faultsuite.report import Part, why_not_clean
from liif_basicsr.hub import checkpoint

VALUES: list[Any] = [
    None, "", "x", "1", "~", "a/b", "\n", True, False, 0, 1, -1, 2, 3.7, 1e-9, 1e20, 1e308, float("nan"), float("inf"),
    -float("inf"), 2**31, 2**63, 10**20, [], [1, 2], ["a"], [[1]], {}, {"type": "x"}, {"a": {"b": 1}}, b"abc",
]  # fmt: skip


def options(folder: Path, count: int, seed: int) -> Iterator[Part]:
    """Mutated options files, each run by its own training."""
    part, rng = Part("training starts with a mistake in the options"), random.Random(seed)
    images = make_images(folder / "images", 3)
    opt = train_options(images, total_iter=2)
    opt["datasets"]["val_1"] = val_set("A", images, [2])
    opt["val"] = {"val_freq": 2, "save_img": False, "metrics": {"psnr": {"type": "calculate_psnr_liif"}}}
    for number in tqdm(range(count), desc=part.name):
        at = folder / f"run{number}"
        at.mkdir()
        trial = write_mutated(at / "options.yml", opt, rng)
        ended = run(train, "-opt", "options.yml", folder=at)
        wrong = why_not_clean(ended)
        if wrong:
            part.violation(trial, wrong)
        elif ended.status == 2:
            part.clean("reported in one line")
        else:
            part.require(trial, {"a sound network at its end": is_sound(at)}, "trained to the end")
    yield part


def write_mutated(path: Path, opt: dict[str, Any], rng: random.Random) -> str:
    """Write an options file with a random mistake; returns a description of it."""
    if rng.random() < 0.15:
        how, content = mutate(write_options(path, opt).read_bytes(), rng)
        path.write_bytes(content)
        return f"bytes, {how}"
    opt = copy.deepcopy(opt)
    where, block = rng.choice(list(blocks(opt)))
    key, value = rng.choice(list(block)), rng.choice(VALUES)
    how = rng.choice(["without", "with", "with", "with", "misspelled", "besides"])
    if how == "without":
        del block[key]
    elif how == "with":
        block[key] = value
    elif how == "misspelled":
        block[key[:-1] + "q"] = block.pop(key)
    else:
        key = rng.choice(["foo", 3, "type", "scale", "name"])
        block[key] = value
    path.write_text(yaml.safe_dump(opt))
    return f"{where}: {how} {key}" + (f" {value!r}" if how in ("with", "besides") else "")


def blocks(block: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all blocks of the options that are not empty, with their names."""
    if block:
        yield where, block
    for key, value in block.items():
        if isinstance(value, dict):
            yield from blocks(value, f"{where}: {key}")


def is_sound(folder: Path) -> bool:
    """Return whether the training ended with a network of finite numbers."""
    (path,) = folder.rglob("net_g_latest.pth")
    params = checkpoint.read(path)["params"]
    return all(torch.isfinite(value).all() for value in params.values())
