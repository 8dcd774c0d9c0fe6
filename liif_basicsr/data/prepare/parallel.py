"""Apply a function to many items in several processes, and return the results in order."""
from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from multiprocessing import parent_process
from threading import Thread
from typing import Any

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from liif_basicsr.errors import LIIFError


def parallel_map(
    function: Callable[[Any], Any], items: Sequence[Any], processes: int, title: str
) -> Generator[Any, None, None]:
    """Yield `function(item)` for each item in order, or the LIIFError that it raised.

    The work is done by torch's DataLoader, whose workers compute a few results in advance.

    Args:
        function, items: the function and its arguments. Both must be picklable.
        processes: number of worker processes; 1 runs the function in this process.
        title: label of the progress bar.
    """
    workers = min(processes, len(items)) if processes > 1 else 0
    task = _Task(function, items)
    loader = DataLoader(
        task, batch_size=None, num_workers=workers, collate_fn=_identity, worker_init_fn=_end_with_parent
    )
    yield from tqdm(loader, desc=title, unit="image")


class _Task(Dataset):
    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.function, self.items = function, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.function(self.items[index])
        except LIIFError as error:  # returned, because DataLoader adds a traceback to the message of a raised error
            return error


def _identity(result: Any) -> Any:
    return result


def _end_with_parent(worker: int) -> None:
    """Exit a worker when its parent is killed. Torch's own check does not run while the worker waits at a full pipe.

    `join` waits until the system closes the parent's sentinel, which happens with every start method. `os.getppid`
    cannot be used, because it may return the PID of the fork server.
    """
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
