"""An output is encoded in a second thread while the network computes the rest. An error in either thread ends both."""
from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from liif_basicsr.images import writing
from liif_basicsr.images.writing import write_in_thread
from liif_basicsr.rendering.memory import QUEUED_STRIPS

COUNT = 12


class Network:
    """Yields strips and counts them. Computing strip number `fail_at` fails."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.made, self.fail_at, self.has_made_two = 0, fail_at, threading.Event()

    def strips(self) -> Iterator[np.ndarray]:
        assert threading.current_thread() is threading.main_thread()
        for k in range(COUNT):
            if k == self.fail_at:
                raise KeyboardInterrupt
            self.made += 1
            if self.made == 2:
                self.has_made_two.set()
            yield np.full((2, 3, 3), k, np.uint8)


def test_writer_and_network_work_at_the_same_time() -> None:
    network, written, ahead = Network(), [], []

    def write(strips: Iterator[np.ndarray]) -> None:
        for strip in strips:
            assert network.has_made_two.wait(10)  # while the first one is written
            ahead.append(network.made - len(written))
            written.append(strip[0, 0, 0])

    write_in_thread(write, network.strips())
    assert written == list(range(COUNT))
    assert max(ahead) <= QUEUED_STRIPS + 2  # one is being written, and one waits for room in the queue


def test_error_of_the_writer_ends_the_network() -> None:
    network = Network()

    def write(strips: Iterator[np.ndarray]) -> None:
        next(strips)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        write_in_thread(write, network.strips())
    assert network.made <= QUEUED_STRIPS + 2


def test_error_of_the_writer_after_the_last_strip() -> None:
    def write(strips: Iterator[np.ndarray]) -> None:
        assert len(list(strips)) == COUNT
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        write_in_thread(write, Network().strips())


@pytest.mark.parametrize("fail_at", [0, 5])
def test_error_of_the_network_ends_the_writer(fail_at: int) -> None:
    ended = []

    def write(strips: Iterator[np.ndarray]) -> None:
        try:
            list(strips)
        except RuntimeError as error:
            ended.append(str(error))
            raise

    with pytest.raises(KeyboardInterrupt):
        write_in_thread(write, Network(fail_at).strips())
    assert ended == ["the strips cannot be computed"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("writer")]


def test_interrupt_while_the_writer_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    class InterruptedPool(ThreadPoolExecutor):
        def submit(self, *given):
            super().submit(*given)
            raise KeyboardInterrupt

    monkeypatch.setattr(writing, "ThreadPoolExecutor", InterruptedPool)
    with pytest.raises(KeyboardInterrupt):
        write_in_thread(list, Network().strips())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("writer")]


def test_second_interrupt_while_the_writer_is_busy() -> None:
    interrupted = threading.Event()

    def strips() -> Iterator[np.ndarray]:
        for _ in range(QUEUED_STRIPS + 1):  # one is being written, the others fill the queue
            yield np.zeros((2, 3, 3), np.uint8)
        interrupted.set()
        raise KeyboardInterrupt

    def write(strips: Iterator[np.ndarray]) -> None:
        next(strips)
        assert interrupted.wait(10)
        time.sleep(0.1)
        _thread.interrupt_main()
        list(strips)

    with pytest.raises(KeyboardInterrupt):
        write_in_thread(write, strips())
    for thread in threading.enumerate():
        if thread.name.startswith("writer"):
            thread.join(10)
            assert not thread.is_alive()
