"""Faults that could hang a training or end a batch: bad images, killed workers, odd names, odd metadata."""
from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from itertools import cycle, islice, product
from pathlib import Path

from experiment import make_images, train_options, val_set, write_options
from PIL import Image
from tqdm import tqdm

from faultsuite.images import bilinear_network, decoded_elsewhere, gradient, is_enlarged
from faultsuite.kills import unreadable
from faultsuite.processes import Running, command, train
from faultsuite.report import Part, why_not_clean

SECONDS = 60
TEXTS = ["© Jörg", "写真", "\N{GRINNING FACE}", "\udcff", "\0\0", "a" * 30_000]
NAMES = ["写真", "Jörg", "plain", "two words", "semi;colon"]
# Encoding of the console, and whether the file system refuses chmod as exFAT and CIFS do.
SURROUNDINGS = [("cp1252", False), ("utf-8", True), ("ascii", True), ("gbk", False)]


def hangs(folder: Path, count: int, seed: int) -> Iterator[Part]:
    """Trainings with a truncated image or a killed worker, and batches of `upscale`, `count` times each."""
    rng = random.Random(seed)
    images = make_images(folder / "images", 4)
    yield truncated_images(folder, images, count, rng)
    yield killed_workers(folder, images, count // 2)
    yield refused_chmod(folder, images)
    yield batches(folder, count, rng)


# Training -----------------------------------------------------------------------------------------------------


def truncated_images(folder: Path, images: Path, count: int, rng: random.Random) -> Part:
    """Truncate an image of the training or the validation set, with each way of loading."""
    part = Part("training reads a truncated image, with or without workers and prefetching")
    ways = product(["train", "val"], ["cpu", None], [0, 1])
    for number, (phase, mode, workers) in enumerate(tqdm(islice(cycle(ways), count), desc=part.name, total=count)):
        at = folder / f"truncated{number}"
        at.mkdir()
        whole = rng.choice(sorted(images.iterdir()))
        bad = at / "bad"
        bad.mkdir()
        (bad / whole.name).write_bytes(whole.read_bytes()[: rng.randrange(200, whole.stat().st_size - 20)])
        opt = train_options(bad if phase == "train" else images, total_iter=4)
        opt["datasets"]["train"].update(prefetch_mode=mode, num_worker_per_gpu=workers, num_prefetch_queue=1)
        opt["datasets"]["val"] = val_set("A", bad, [2])
        opt["val"] = {"val_freq": 2, "save_img": False, "metrics": {"psnr": {"type": "calculate_psnr_liif"}}}
        path = write_options(at / "options.yml", opt)
        ended = Running(train, "-opt", str(path), folder=at).wait(SECONDS)
        conditions = {
            f"one line and exit status 2 ({why_not_clean(ended)})": why_not_clean(ended) is None and ended.status == 2,
            "the line names the image": whole.name in ended.said.strip().rpartition("\n")[2],
        }
        trial = f"{phase}, prefetch_mode {mode}, {workers} workers"
        part.require(trial, conditions, "reported in one line with the image's name")
    return part


def killed_workers(folder: Path, images: Path, count: int) -> Part:
    """Kill a worker as the system does when memory, or the space in /dev/shm, runs out."""
    part = Part("a data worker is killed")
    ways = product([signal.SIGKILL, signal.SIGBUS], ["cpu", None])
    for number, (fatal, mode) in enumerate(tqdm(islice(cycle(ways), count), desc=part.name, total=count)):
        at = folder / f"killed{number}"
        at.mkdir()
        opt = train_options(images, total_iter=4)
        opt["datasets"]["train"].update(prefetch_mode=mode, num_worker_per_gpu=1, num_prefetch_queue=1)
        path = write_options(at / "options.yml", opt)
        ended = Running(train_with_dying_workers, fatal, "-opt", str(path), folder=at).wait(SECONDS)
        conditions = {
            f"one line and exit status 2 ({why_not_clean(ended)})": why_not_clean(ended) is None and ended.status == 2,
            "the line says why": "a worker was killed" in ended.said.strip().rpartition("\n")[2],
        }
        part.require(f"{fatal.name}, prefetch_mode {mode}", conditions, "reported in one line with the remedy")
    return part


def train_with_dying_workers(fatal: signal.Signals, *args: str) -> int:
    """Train; each worker is killed before its first batch."""
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Batches

    start = Batches.__init__

    def start_and_kill(self: Batches, loader: object) -> None:
        start(self, loader)
        for worker in self._workers:
            os.kill(worker.pid, fatal)

    Batches.__init__ = start_and_kill
    return train(*args)


def refused_chmod(folder: Path, images: Path) -> Part:
    """Train on a file system that refuses chmod."""
    part, at = Part("training runs on a file system that refuses chmod"), folder / "chmod"
    at.mkdir()
    path = write_options(at / "options.yml", train_options(images, total_iter=2))
    ended = Running(train_without_chmod, "-opt", str(path), folder=at).wait(SECONDS)
    conditions = {
        f"exit status 0 ({ended.said[-200:]})": ended.status == 0,
        "checkpoints": len(list(at.rglob("*.pth"))) == 2 and not unreadable(at),
    }
    part.require("chmod", conditions, "trained to the end")
    return part


def train_without_chmod(*args: str) -> int:
    """Train where chmod is refused."""
    os.chmod = _refuse
    return train(*args)


def _refuse(*args: object, **kwargs: object) -> None:
    raise PermissionError(1, "Operation not permitted")


# Batches ------------------------------------------------------------------------------------------------------


def batches(folder: Path, count: int, rng: random.Random) -> Part:
    """Upscale folders of images with odd names and metadata."""
    part = Part("images with odd names and metadata, on a console that lacks characters, or without chmod")
    model = bilinear_network(folder / "bilinear.pth")
    for number, (encoding, refuses) in enumerate(tqdm(islice(cycle(SURROUNDINGS), count), desc=part.name, total=count)):
        at = folder / f"batch{number}"
        (at / "in").mkdir(parents=True)
        for name, suffix in product(NAMES, ["png", "jpg", "tif", "webp"]):
            write_with_text(at / "in" / f"{name}.{suffix}", rng.choice(TEXTS), rng)
        args = ("upscale", "in", "out", "--scale", "2", "--model", str(model), "--precision", "float32")
        ended = Running(command_in, encoding, refuses, *args, folder=at).wait(SECONDS)
        wrong = why_not_clean(ended)
        if wrong or ended.status:
            part.violation(f"{encoding}, chmod refused: {refuses}", f"{wrong}, {ended.said[-300:]}")
        for path in sorted((at / "in").iterdir()):
            made = at / "out" / path.name
            right = made.exists() and any(is_enlarged(made, seen) for seen in decoded_elsewhere(path, upright=True))
            part.require(f"{encoding}: {path.name}", {"the right image": right}, "upscaled")
    return part


def write_with_text(path: Path, text: str, rng: random.Random) -> None:
    """Write an image with EXIF text as cameras write it: in UTF-8, although the standard requires ASCII."""
    content = text.encode(errors="surrogateescape")
    exif, mark = Image.Exif(), "#" * len(content)
    exif[rng.choice([0x010E, 0x013B, 0x8298])] = mark
    exif[0x8769] = {0x9286: b"ASCII\0\0\0" + content[:99], 0xA433: mark[:50]}
    gradient().save(path, exif=exif.tobytes(), **({"lossless": True} if path.suffix == ".webp" else {}))
    path.write_bytes(path.read_bytes().replace(mark.encode(), content))


def command_in(encoding: str, refuses_chmod: bool, *args: str) -> int:
    """`python -m liif_basicsr` on a console of this encoding."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding=encoding, errors="strict")
    if refuses_chmod:
        os.chmod = _refuse
    return command(*args)
