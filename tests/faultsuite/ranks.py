"""Several gloo processes compared with one: same weights, same validation, and all end together."""
from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiment import make_images, train_options, val_set, write_options

from faultsuite.kills import training, weights
from faultsuite.processes import Ended, Running, train
from faultsuite.report import Part

TOLERANCE = 1e-6  # gradients are summed in a different order


def ranks(folder: Path, most: int, seed: int) -> Iterator[Part]:
    """Train in two to `most` processes, with data sets whose sizes are not multiples of these numbers."""
    part = Part(f"{' and '.join(map(str, range(2, most + 1)))} gloo processes instead of one")
    images = make_images(folder / "images", 5, seed=seed)
    opt = train_options(images, total_iter=10, save_every=100)
    opt["datasets"]["val_1"] = val_set("A", images, [2, [3, 2.5]])
    opt["val"] = {"val_freq": 100, "save_img": False, "metrics": {"psnr": {"type": "calculate_psnr_liif"}}}
    opt["datasets"]["train"]["batch_size_per_gpu"] = 6
    alone = training(folder / "one", opt)
    ours = weights(folder / "one")
    for count in range(2, most + 1):
        opt["datasets"]["train"]["batch_size_per_gpu"] = 6 // count
        ended = together(folder / f"{count}", opt, count)
        conditions = {"exit status 0": all(end.status == 0 for end in ended)}
        if conditions["exit status 0"]:
            theirs = weights(folder / f"{count}")
            far = max((theirs[key] - value).abs().max().item() for key, value in ours.items())
            conditions["the weights of one"] = far < TOLERANCE
            conditions["the PSNR of one"] = psnr(ended[0]) == psnr(alone) and len(psnr(alone)) == 2
        part.require(f"{count} processes", conditions, "with the same weights (to 1e-6) and PSNR (to 4 digits)")
    yield part


def together(
    folder: Path, opt: dict[str, Any], count: int, target: Callable[..., int] = train, **variables: str
) -> list[Ended]:
    """Train in several processes without torchrun, because torchrun would end the others if one ended."""
    folder.mkdir()
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    args = ("-opt", str(write_options(folder / "options.yml", opt)), "--launcher", "pytorch")
    running = []
    for rank in range(count):
        process = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        running.append(Running(target, *args, folder=folder, said=f"said{rank}", **common, **process, **variables))
    return [process.wait() for process in running]


def psnr(ended: Ended) -> list[str]:
    """Return the PSNR of the last validation, with the four digits of the log."""
    return re.findall(r"# psnr: ([\d.]+)", ended.said)
