"""Distribute the items of a task over the processes that torchrun started, on one or more machines."""
from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from liif_basicsr.errors import LIIFError, OthersEnded

# Seconds between two queries of the shared store.
INTERVAL = 0.05


class Ranks:
    """The processes of a run, according to torchrun's environment variables. Without these, the run is one process.

    The processes communicate only through torchrun's store, with or without GPUs. All of them must call the same
    methods in the same order.

    Attributes:
        rank: number of this process. Process 0 reports the results of all processes.
        count: number of processes.
    """

    def __init__(self) -> None:
        here = os.environ if "TORCHELASTIC_RUN_ID" in os.environ else {}
        self.rank, self.count = int(here.get("RANK", 0)), int(here.get("WORLD_SIZE", 1))
        self._store: Any = None
        self._calls = 0
        if self.count > 1:
            with _errors_of_store():
                store = next(dist.rendezvous("env://"))[0]
            # After a restart (torchrun --max-restarts) the store still has the entries of the killed processes.
            self._store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)

    def take_gpu(self, device: str | None = None) -> None:
        """Make the GPU whose number is this process's local rank the current one.

        Args:
            device: the device option. Only `cuda` and None have an effect.

        Raises:
            LIIFError: there are more processes than GPUs on this machine.
        """
        if self.count > 1 and device in (None, "cuda") and torch.cuda.is_available():
            check_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))

    def from_first(self, make: Callable[[], Any]) -> Any:
        """Call `make` in process 0 and return its result, which must be serializable as JSON, in all processes."""
        if self._store is None:
            return make()
        self._calls += 1
        key = f"value {self._calls}"
        if self.rank == 0:
            self._put(key, make())
        while not self._has(key):
            time.sleep(INTERVAL)
        return self._get(key)

    def map(self, work: Callable[[int], Any], total: int) -> Iterator[Any]:
        """Call `work(index)` once for each index below `total`, each time in a process that is free.

        Yields:
            The results in the order of the indices, in process 0 only. They must be serializable as JSON.
        """
        if self._store is None:
            yield from map(work, range(total))
            return
        self._calls += 1
        name, busy, done = f"map {self._calls}", True, 0
        while busy or (self.rank == 0 and done < total):
            if busy:
                index = self._add(name, 1) - 1
                busy = index < total
                if busy:
                    self._put(f"{name}: {index}", work(index))
            else:
                time.sleep(INTERVAL)
            while self.rank == 0 and done < total and self._has(f"{name}: {done}"):
                yield self._get(f"{name}: {done}")
                done += 1

    def end(self, status: int) -> int:
        """Wait for all processes, and return the exit status of process 0 in all of them. Must be the last call."""
        status = self.from_first(lambda: status)
        if self._store is not None:
            self._add("ended", 1)
            while self.rank == 0 and self._add("ended", 0) < self.count:  # the store may live in this process
                time.sleep(INTERVAL)
        return status

    def _put(self, key: str, value: Any) -> None:
        with _errors_of_store():
            self._store.set(key, json.dumps(value))
        self._add(f"{key} is set", 1)

    def _has(self, key: str) -> bool:
        return self._add(f"{key} is set", 0) > 0

    def _get(self, key: str) -> Any:
        with _errors_of_store():
            return json.loads(self._store.get(key))

    def _add(self, key: str, value: int) -> int:
        with _errors_of_store():
            return self._store.add(key, value)


def check_gpus(processes: int) -> None:
    """Raise LIIFError if this machine has fewer GPUs than processes."""
    count = torch.cuda.device_count()
    if processes > count:
        raise LIIFError(
            f"{processes} processes on this machine need a GPU each, but it has only {count}; "
            f"use --nproc_per_node={count}"
        )


@contextmanager
def _errors_of_store() -> Iterator[None]:
    """Turn errors of the store, whose process may have ended, into OthersEnded."""
    try:
        yield
    except dist.DistError as error:
        raise others_ended(error) from error


def others_ended(error: Exception) -> OthersEnded:
    """Return the error for a failed communication with another process."""
    reason = str(error).splitlines()[0]
    return OthersEnded(f"another process of this run has ended or does not respond ({reason}); see its own message")
