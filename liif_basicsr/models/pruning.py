"""Removes old checkpoints, where an option asks for it, and half-written files."""
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from basicsr.utils import get_root_logger

NETWORK = re.compile(r"net_\w+_(\d+)\.pth")


def prune(models: Path, states: Path, current_iter: int, keep: int, is_milestone: Callable[[int], bool]) -> None:
    """Remove all complete checkpoints, network and state, except the newest and the milestones.

    A network without its state is left alone: somebody kept it on purpose. So are `latest` and iterations after
    `current_iter`, which belong to another run.

    Args:
        models, states: the folders of the networks and of the training states.
        current_iter: that of the newest checkpoint, which has just been written.
        keep: how many of the newest to keep, from 1.
        is_milestone: whether an iteration's checkpoint is always kept.
    """
    networks: dict[int, list[Path]] = defaultdict(list)
    for path in models.iterdir():
        if match := NETWORK.fullmatch(path.name):
            networks[int(match[1])].append(path)
    whole = sorted(k for k in networks if k <= current_iter and (states / f"{k}.state").is_file())
    for iteration in whole[:-keep]:
        if not is_milestone(iteration):
            # The state goes first: without its network it would be useless.
            _remove(states / f"{iteration}.state", *networks[iteration])


def remove_partial(folder: Path) -> None:
    """Remove what a process that was killed while writing has left, see `liif_basicsr.files`."""
    _remove(*folder.glob(".*.part"))


def _remove(*paths: Path) -> None:
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:  # no reason to end a training
        get_root_logger().warning(f"{path}: cannot be removed: {error.strerror}")
