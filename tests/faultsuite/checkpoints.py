"""Corrupt or inconsistent checkpoints: each is refused in one line, or behaves exactly like the intact one."""
from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from experiment import NETWORK, make_images, train_options
from tqdm import tqdm

import liif_basicsr
from faultsuite.kills import same_weights, training
from faultsuite.mutate import mutate
from faultsuite.processes import run
from faultsuite.report import Part, why_not_clean
from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.hub.official import to_official

ABSURD: list[Any] = ["x", "", -3, 0, 2.5, 1e20, 10**9, 10**25, float("nan"), None, [], [7], {}, {"a": 1}, ["x"]]
WHERE = Path("experiments", "tiny")


def checkpoints(folder: Path, count: int, seed: int) -> Iterator[Part]:
    """Load mutated networks, then resume trainings whose newest checkpoint is mutated."""
    yield load_mutated(folder / "load", count, random.Random(seed))
    yield resume_mutated(folder / "resume", count, random.Random(seed))


# Loading ----------------------------------------------------------------------------------------------------


def load_mutated(folder: Path, count: int, rng: random.Random) -> Part:
    """Half of the mutations change bytes, half change values in a valid file."""
    part = Part("a corrupt or inconsistent checkpoint is loaded")
    files = folder / "files"
    files.mkdir(parents=True)
    torch.manual_seed(0)
    net = build_network(NETWORK)
    ours = {"params": net.state_dict(), "network_g": NETWORK}
    plain = {**NETWORK, "input_skip": None}  # the official code has no input_skip
    official = build_network(plain)
    official.load_state_dict(net.state_dict())
    sound = {"ours": ours, "official": to_official({**ours, "network_g": plain})}
    for source, data in sound.items():
        checkpoint.save(folder / f"{source}.pth", data)
    for number in range(count):
        source, path = rng.choice(["ours", "ours", "official"]), files / f"{number}"
        if rng.random() < 0.5:
            data, how = copy.deepcopy(sound[source]), rng.choice(CHANGES) if source == "ours" else change_official
            how(data, rng)
            torch.save(data, path.with_name(f"{number}_{source}_{how.__name__}.pth"))
        else:
            how_bytes, content = mutate((folder / f"{source}.pth").read_bytes(), rng)
            path.with_name(f"{number}_{source}_{how_bytes}.pth").write_bytes(content)
    ended = run(load_folder, str(files), folder=folder)
    if why_not_clean(ended) or ended.status:
        part.violation("loading", f"{why_not_clean(ended)}: {ended.said[-300:]}")
        return part
    expected = {"ours": probe(net), "official": probe(official)}
    for name, output in json.loads((folder / "outputs.json").read_text()).items():
        if isinstance(output, str):
            line = name in output and "\n" not in output
            part.require(name, {"one line that names the file": line}, "reported in one line")
        else:
            same = output == expected[name.split("_")[1]]
            part.require(name, {"the same image as before": same}, "rendered the same image as before")
    return part


def drop_parameter(data: dict[str, Any], rng: random.Random) -> None:
    del data["params"][rng.choice(list(data["params"]))]


def change_parameter(data: dict[str, Any], rng: random.Random) -> None:
    key = rng.choice(list(data["params"]))
    value = data["params"][key]
    changes: list[Any] = [value[None], value.long(), value * float("nan"), value.double(), value.to(torch.complex64)]
    changes += [torch.zeros(()).expand(10**6, 10**6), value.to_sparse(), *ABSURD]
    data["params"][key] = rng.choice(changes)


def rename_parameter(data: dict[str, Any], rng: random.Random) -> None:
    data["params"][rng.choice(["x", 3, "module.module.x"])] = data["params"].pop(rng.choice(list(data["params"])))


def replace_part(data: dict[str, Any], rng: random.Random) -> None:
    data[rng.choice(["params", "params_ema", "network_g"])] = rng.choice(ABSURD)


def change_network(data: dict[str, Any], rng: random.Random) -> None:
    data["network_g"] = copy.deepcopy(data["network_g"])
    block = rng.choice([data["network_g"], data["network_g"]["encoder"]])
    keys = [key for key in block if key != "input_skip"]  # None is another valid value of it
    block[rng.choice([*keys, "foo", 3])] = rng.choice(ABSURD)


def change_official(data: dict[str, Any], rng: random.Random) -> None:
    model, args = data["model"], data["model"]["args"]
    block = rng.choice([model, model["sd"], args, args["encoder_spec"]["args"], args["imnet_spec"]["args"]])
    keys = [key for key in block if key != "local_ensemble"]  # false is another valid value of it
    block[rng.choice([*keys, "foo", 3])] = rng.choice(ABSURD)


CHANGES: list[Callable[[dict[str, Any], random.Random], None]] = [
    drop_parameter, change_parameter, rename_parameter, replace_part, change_network, change_network
]  # fmt: skip


def load_folder(files: str) -> int:
    """Load each file of a folder; save its error, or an image that the network renders."""
    outputs: dict[str, Any] = {}
    for path in sorted(Path(files).iterdir()):
        try:
            outputs[path.name] = probe(liif_basicsr.load(path))
        except LIIFError as error:
            outputs[path.name] = str(error)
    Path("outputs.json").write_text(json.dumps(outputs))
    return 0


def probe(net: Any) -> list[float]:
    """Return the network's output for a small image."""
    return net.eval().render(torch.linspace(0, 1, 60).view(1, 3, 4, 5), (7, 9)).flatten().tolist()


# Resuming ---------------------------------------------------------------------------------------------------


def resume_mutated(folder: Path, count: int, rng: random.Random) -> Part:
    """Mutate the state or the network of the newest of two checkpoints, and resume."""
    part = Part("training resumes from a corrupt or inconsistent checkpoint")
    folder.mkdir()
    opt = train_options(make_images(folder / "images", 3), total_iter=4, save_every=2)
    assert training(folder / "begun", opt).status == 0
    opt["train"]["total_iter"] = 8
    assert training(folder / "whole", opt).status == 0
    for number in tqdm(range(count), desc=part.name):
        at = folder / f"run{number}"
        shutil.copytree(folder / "begun", at)
        trial = corrupt(at, rng)
        ended = training(at, opt)
        wrong = why_not_clean(ended)
        if wrong or ended.status not in (0, 2):
            part.violation(trial, wrong or f"exit status {ended.status}")
        elif ended.status == 2:
            part.clean("reported in one line")
        elif "the current epoch starts over" in ended.said:
            part.clean("restarted the epoch with a warning")
        else:
            how = "skipped with a warning" if "warning: skipped:" in ended.said else "unaffected"
            part.require(trial, {"the weights of an uninterrupted run": same_weights(folder / "whole", at)}, how)
        shutil.rmtree(at)
    return part


def corrupt(folder: Path, rng: random.Random) -> str:
    """Mutate the newest checkpoint; returns a description."""
    path = rng.choice([folder / WHERE / "training_states" / "4.state", folder / WHERE / "models" / "net_g_4.pth"])
    if path.suffix == ".pth" or rng.random() < 0.3:
        how, content = mutate(path.read_bytes(), rng)
        path.write_bytes(content)
        return f"{path.name}: {how}"
    state = checkpoint.read_tensors(path)
    where, key, value = change_entry(state, rng)
    torch.save(state, path)
    return f"{path.name}: {where} {key!r} is {str(value)[:60]!r}"


def change_entry(state: dict[str, Any], rng: random.Random) -> tuple[str, Any, Any]:
    """Change an entry of a state to an impossible value."""
    optimizer, scheduler = state["optimizers"][0], state["schedulers"][0]
    blocks = {
        "state": state, "optimizer": optimizer, "moments": rng.choice(list(optimizer["state"].values())),
        "group": optimizer["param_groups"][0], "scheduler": scheduler,
    }  # fmt: skip
    where = rng.choice(list(blocks))
    block = blocks[where]
    key = rng.choice(list(block))
    values = [*ABSURD, torch.zeros(7), torch.full((4, 3, 3, 3), float("nan"))]
    value = rng.choice([value for value in values if where == "state" or not is_plausible(value, block[key])])
    if rng.random() < 0.2 and block[key] and not str(key).startswith("_"):
        del block[key]
        value = "missing"
    else:
        block[key] = value
    return where, key, value


def is_plausible(value: Any, true: Any) -> bool:
    """Return whether a value could replace the true one: another number or another list."""
    if isinstance(true, torch.Tensor):
        if true.dim():
            return False
        true = true.item()
    numbers = all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in (value, true))
    return numbers and value == value or type(value) is type(true)
