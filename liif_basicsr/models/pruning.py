"""What is taken away of an experiment: old checkpoints, where an option asks for it, and half written files."""
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from basicsr.utils import get_root_logger

NETWORK = re.compile(r"net_\w+_(\d+)\.pth")


def prune(models: Path, states: Path, current_iter: int, keep: int, is_milestone: Callable[[int], bool]) -> None:
    """Take away checkpoints that are whole, network and state, but for the newest and the milestones.

    What is not both is left alone: a network whose state somebody took away is kept on purpose. So are `latest` and
    those of iterations after `current_iter`, of another run.

    Args:
        models, states: the folders of the networks and of the training states.
        current_iter: that of the newest checkpoint, which has just been written.
        keep: how many of the newest to keep, from 1.
        is_milestone: tells whether an iteration's checkpoint is to be kept for ever.
    """
    networks: dict[int, list[Path]] = defaultdict(list)
    for path in models.iterdir():
        if match := NETWORK.fullmatch(path.name):
            networks[int(match[1])].append(path)
    whole = sorted(k for k in networks if k <= current_iter and (states / f"{k}.state").is_file())
    for iteration in whole[:-keep]:
        if not is_milestone(iteration):
            # The state goes first: without its network it would be of no use.
            _remove(states / f"{iteration}.state", *networks[iteration])


def remove_partial(folder: Path) -> None:
    """Take away what a process that was killed while it wrote has left, see `liif_basicsr.utils.files`."""
    _remove(*folder.glob(".*.part"))


def _remove(*paths: Path) -> None:
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:  # no reason to end a training
        get_root_logger().warning(f"{path}: cannot be taken away: {error.strerror}")
