"""Encode an output in a thread while the network computes the rest of it."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from queue import Empty, Full, Queue
from threading import Event

import numpy as np

from liif_basicsr.rendering.memory import QUEUED_STRIPS

# Interval in seconds at which each thread checks whether the other one has failed.
POLL = 0.1


def write_in_thread(write: Callable[[Iterator[np.ndarray]], None], strips: Iterator[np.ndarray]) -> None:
    """Call `write` in a second thread, while the calling thread computes the strips.

    At most QUEUED_STRIPS strips wait to be written. An error in either thread ends both, and is raised in the calling
    thread.
    """
    queue: Queue[np.ndarray | None] = Queue(QUEUED_STRIPS)
    failed = Event()
    with ThreadPoolExecutor(1, "writer") as pool:
        writer = pool.submit(write, _received(queue, failed))
        try:
            for strip in chain(strips, [None]):
                _put(queue, strip, writer)
                if writer.done():
                    break
            writer.result()
        except BaseException:
            failed.set()
            raise


def _put(queue: Queue[np.ndarray | None], strip: np.ndarray | None, writer: Future[None]) -> None:
    """Put a strip into the queue as soon as there is room, unless the writer ends first."""
    while not writer.done():
        try:
            queue.put(strip, timeout=POLL)
            return
        except Full:
            continue


def _received(queue: Queue[np.ndarray | None], failed: Event) -> Iterator[np.ndarray]:
    """Yield the strips from a queue up to the first None.

    Raises:
        RuntimeError: `failed` was set.
    """
    while not failed.is_set():
        try:
            strip = queue.get(timeout=POLL)
        except Empty:
            continue
        if strip is None:
            return
        yield strip
    raise RuntimeError("the strips cannot be computed")  # ends the writer; the calling thread raises the actual error
