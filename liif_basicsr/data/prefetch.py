"""Report problems of BasicSR's prefetching: a missing GPU, or an error in its thread that would make training hang."""
from __future__ import annotations

import threading
from typing import Any, NoReturn

import torch
from basicsr.data.prefetch_dataloader import PrefetchGenerator

from liif_basicsr.errors import LIIFError


def check_prefetching(mode: str | None, where: str) -> None:
    """Raise if `mode` is cuda and there is no GPU. If `mode` is cpu, let errors in the prefetching thread end training.

    Args:
        mode: the option `prefetch_mode` of a dataset.
        where: name of the dataset in messages.
    """
    if mode == "cuda" and not torch.cuda.is_available():
        remedy = "remove prefetch_mode, or set it to cpu"
        raise LIIFError(f"{where}: prefetch_mode: cuda needs a GPU that torch can use; {remedy}")
    if mode == "cpu":
        _raise_in_main_thread()


class FailedBatch:
    """Placeholder for a batch that could not be loaded. Reading it raises the loading error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getitem__(self, key: object) -> NoReturn:
        raise self.error

    def items(self) -> NoReturn:
        raise self.error


def _raise_in_main_thread() -> None:
    """Raise errors of BasicSR's prefetching thread in the main thread, which would otherwise wait forever."""
    previous = threading.excepthook
    if getattr(previous, "hands_over", False):
        return

    def hand_over(args: Any) -> None:
        if isinstance(args.thread, PrefetchGenerator):
            args.thread.queue.put(FailedBatch(args.exc_value))
        else:
            previous(args)

    hand_over.hands_over = True  # type: ignore[attr-defined]
    threading.excepthook = hand_over
