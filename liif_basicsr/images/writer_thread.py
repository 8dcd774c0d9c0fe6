"""Encode an output in a thread while the network computes the rest of it."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from queue import Full, Queue

import numpy as np

from liif_basicsr.rendering.memory import QUEUED_STRIPS

# Seconds after which a full queue checks whether its reader has failed.
POLL = 0.1


class End(Enum):
    """Last item of a queue."""

    COMPLETE = "all strips are computed"
    FAILED = "the strips cannot be computed"


def write_in_thread(write: Callable[[Iterator[np.ndarray]], None], strips: Iterator[np.ndarray]) -> None:
    """Call `write` in a thread, with strips that this thread computes. At most QUEUED_STRIPS wait to be written.

    An error of either side ends both, and is raised here.
    """
    queue: Queue[np.ndarray | End] = Queue(QUEUED_STRIPS)
    with ThreadPoolExecutor(1, "writer") as pool:
        writer = pool.submit(write, _received(queue))
        try:
            for strip in strips:
                _put(queue, strip, writer)
                if writer.done():
                    break
            _put(queue, End.COMPLETE, writer)
        except BaseException:
            _put(queue, End.FAILED, writer)
            raise
        writer.result()


def _put(queue: Queue[np.ndarray | End], item: np.ndarray | End, writer: Future[None]) -> None:
    """Put an item into the queue, unless the writer ends before there is room."""
    while not writer.done():
        try:
            queue.put(item, timeout=POLL)
            return
        except Full:
            continue


def _received(queue: Queue[np.ndarray | End]) -> Iterator[np.ndarray]:
    """Yield the strips of a queue."""
    while not isinstance(item := queue.get(), End):
        yield item
    if item is End.FAILED:
        raise RuntimeError(item.value)  # ends the writer; the caller raises the error itself
