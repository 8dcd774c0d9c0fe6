"""One function over all images of a source, by several processes, in order."""
from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sized
from threading import Thread
from typing import Any

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from liif_basicsr.utils.errors import LIIFError

# f(source, index)
Function = Callable[[Any, int], Any]


def each(function: Function, source: Sized, processes: int, title: str) -> Generator[Any, None, None]:
    """Yield `function(source, index)` for each index in order, or the LIIFError that it raised.

    The workers are those of torch's DataLoader, which read ahead a little.

    Args:
        function: must be picklable.
        processes: 1 does the work in this process.
        title: what the progress bar says.
    """
    workers = min(processes, len(source)) if processes > 1 else 0
    task = _Task(function, source)
    loader = DataLoader(
        task, batch_size=None, num_workers=workers, collate_fn=_as_it_is, worker_init_fn=_end_with_parent
    )
    yield from tqdm(loader, desc=title, unit="image")


class _Task(Dataset):
    def __init__(self, function: Function, source: Sized) -> None:
        self.function, self.source = function, source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.function(self.source, index)
        except LIIFError as error:  # given back, for a worker's exceptions carry a whole traceback in their text
            return error


def _as_it_is(result: Any) -> Any:
    return result


def _end_with_parent(worker: int) -> None:
    """Let a worker end when its parent was killed; torch's own check waits for a full pipe that nobody reads."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
