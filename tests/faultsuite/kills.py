"""A training that is killed at random moments, and always resumed, ends with the weights of an uninterrupted one."""
from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from experiment import make_images, train_options, write_options
from tqdm import tqdm

from faultsuite.processes import Ended, Running, train
from faultsuite.report import Part
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint

KEEP = 4
# Phase of the training -> the message printed just before it, and its longest duration in seconds.
MOMENTS = {
    "at the start": ("", 1.0),
    "during training": ("Start training", 60.0),
    "while saving": ("Saving models and training states", 0.02),
}


def kills(folder: Path, count: int, seed: int) -> Iterator[Part]:
    """SIGKILL at random moments of a training that saves every third iteration and deletes old checkpoints."""
    part, rng = Part("training is killed (SIGKILL) at a random moment and resumed"), random.Random(seed)
    opt = train_options(make_images(folder / "images", 5), total_iter=30 * count, save_every=3)
    opt["logger"].update(print_freq=10**6, keep_checkpoints=KEEP)
    process = start(folder / "whole", opt)
    process.wait_for("Start training")
    began = time.monotonic()
    ended = process.wait()
    assert ended.status == 0, ended.said
    window = (time.monotonic() - began) / count  # so that the training does not end before the last kill
    killed = folder / "killed"
    for number in tqdm(range(count), desc=part.name):
        _kill_once(killed, opt, rng, window, f"kill {number}", part)
    yield part
    end = Part("the killed run is resumed until its end")
    last = training(killed, opt)
    same = last.status == 0 and same_weights(folder / "whole", killed)
    conditions = {"exit status 0": last.status == 0, "bitwise the weights of an uninterrupted run": same}
    conditions["all files readable"] = not unreadable(killed)
    conditions["no partial files"] = not list(killed.rglob("*.part"))
    conditions["only the newest kept"] = len(list(killed.glob("experiments/tiny/training_states/*"))) == KEEP
    end.require("the end", conditions, "with the same weights as an uninterrupted run, bit by bit; all files readable")
    yield end


def training(folder: Path, opt: dict[str, Any], *args: str, **how: Any) -> Ended:
    """Run a training to its end; resume it if it has begun."""
    return start(folder, opt, *args, **how).wait()


def start(folder: Path, opt: dict[str, Any], *args: str, **how: Any) -> Running:
    """Start or resume a training."""
    folder.mkdir(exist_ok=True)
    path = write_options(folder / "options.yml", opt)
    return Running(train, "-opt", str(path), "--auto_resume", *args, folder=folder, **how)


def _kill_once(folder: Path, opt: dict[str, Any], rng: random.Random, window: float, trial: str, part: Part) -> None:
    process = start(folder, opt)
    moment, (said, most) = rng.choice(list(MOMENTS.items()))
    if said:
        process.wait_for(said)
    time.sleep(rng.uniform(0, min(most, window)))
    killed = process.kill()
    broken = unreadable(folder)
    if broken:
        part.violation(trial, f"unreadable: {broken}")
    elif killed:
        part.clean(f"killed {moment}")
    elif process.process.exitcode == 0:
        part.clean("had ended before")
    else:
        part.violation(trial, f"it ended by itself: {process.said.read_text()[-300:]}")


def unreadable(folder: Path) -> list[str]:
    """Return the errors of checkpoints and states that cannot be read."""
    errors = []
    for path in sorted([*folder.rglob("*.pth"), *folder.rglob("*.state")]):
        try:
            checkpoint.read(path) if path.suffix == ".pth" else checkpoint.read_tensors(path)
        except LIIFError as error:
            errors.append(str(error))
    return errors


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the final weights of a training."""
    data = checkpoint.read(folder / "experiments" / "tiny" / "models" / "net_g_latest.pth")
    return {f"{key} {name}": value for key in data.keys() - {"network_g"} for name, value in data[key].items()}


def same_weights(one: Path, other: Path) -> bool:
    """Return whether two trainings ended with bitwise the same weights."""
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())
