"""Failing writes during a training: no saved file is lost, and the training resumes once there is room."""
from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiment import NETWORK, make_images, train_options
from tqdm import tqdm

from faultsuite.kills import same_weights, training, unreadable
from faultsuite.processes import Ended
from faultsuite.report import Part, why_not_clean

WHERE = Path("experiments", "tiny")
# Network whose checkpoints are much larger than the training's log.
LARGER = {**NETWORK, "encoder": {"type": "EDSR", "num_feat": 32, "num_block": 2}}
PLACES = ["models", "training_states", "."]
PAGE = 4096
Obstacle = Callable[[Path, dict[str, Any], random.Random], Ended]


def writes(folder: Path, count: int, seed: int) -> Iterator[Part]:
    """Run a training against each obstacle `count` times, with random size limits and folders."""
    opt = train_options(make_images(folder / "images", 5), total_iter=4, save_every=2, network_g=LARGER)
    opt["train"]["ema_decay"] = 0  # the state is then twice as large as the network
    opt["logger"].update(print_freq=10**6, keep_checkpoints=1)
    assert training(folder / "begun", opt).status == 0
    opt["train"]["total_iter"] = 8
    assert training(folder / "whole", opt).status == 0
    for name, obstacle in OBSTACLES.items():
        part, rng = Part(f"training {name}"), random.Random(seed)
        for number in tqdm(range(count), desc=part.name):
            _once(folder, f"{obstacle.__name__}{number}", opt, obstacle, rng, part)
        yield part


def _once(folder: Path, trial: str, opt: dict[str, Any], obstacle: Obstacle, rng: random.Random, part: Part) -> None:
    at = folder / trial
    shutil.copytree(folder / "begun", at)
    before = digests(at)
    try:
        failed = obstacle(at, opt, rng)
    except PermissionError as error:
        part.clean(f"not permitted here ({error})")
        return
    conditions = {
        f"one line and exit status 2 ({why_not_clean(failed)}: {failed.said[-200:]})":
            why_not_clean(failed) is None and failed.status == 2,
        "saved files are unchanged": digests(at).items() >= before.items(),
        "all files readable": not unreadable(at),
    }  # fmt: skip
    again = training(at, opt)
    conditions["it resumes once there is room"] = again.status == 0
    conditions["bitwise the weights of an uninterrupted run"] = same_weights(folder / "whole", at)
    part.require(trial, conditions, "reported in one line; resumed to the same weights")


def digests(folder: Path) -> dict[str, str]:
    """Return digests of the last checkpoint before the fault, at iteration 4."""
    files = [folder / WHERE / "models" / "net_g_4.pth", folder / WHERE / "training_states" / "4.state"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.exists()}


def limited(at: Path, opt: dict[str, Any], rng: random.Random) -> Ended:
    """Limit the size of files to less than a network and its state need (RLIMIT_FSIZE)."""
    size = (at / WHERE / "models" / "net_g_4.pth").stat().st_size
    return training(at, opt, files_up_to=rng.randrange(size // 2, 2 * size - 2000))


def full(at: Path, opt: dict[str, Any], rng: random.Random) -> Ended:
    """Put one of the folders on a small tmpfs with room for only a part of the next checkpoint."""
    folder = at / WHERE / rng.choice(PLACES)
    used = [path.stat().st_size for path in folder.rglob("*.[ps]t*")]
    with disk(folder, sum(used) + len(used) * PAGE + rng.randrange(PAGE, min(used) - PAGE)):
        return training(at, opt)


def read_only(at: Path, opt: dict[str, Any], rng: random.Random) -> Ended:
    """Make one of the folders read-only."""
    with disk(at / WHERE / rng.choice(PLACES), 1 << 22, "ro"):
        return training(at, opt)


@contextmanager
def disk(folder: Path, size: int, then: str = "rw") -> Iterator[None]:
    """Put the folder on a tmpfs of `size` bytes; afterwards copy its files back.

    Raises:
        PermissionError: this process may not mount.
    """
    aside = folder.parent.parent / "aside"
    shutil.copytree(folder, aside)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        mount("-o", f"remount,{then}", folder)
        yield
        shutil.rmtree(aside)
        shutil.copytree(folder, aside)
    finally:
        subprocess.run(["umount", folder], check=True)
    shutil.rmtree(folder)
    aside.rename(folder)


def mount(*args: str | Path) -> None:
    done = subprocess.run(["mount", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(f"mount: {done.stderr.strip().splitlines()[-1]}")


OBSTACLES: dict[str, Obstacle] = {
    "reaches a file size limit": limited,
    "fills the disk": full,
    "finds its folder read-only": read_only,
}
