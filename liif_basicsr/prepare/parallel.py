"""One function over all pictures of a source, by several processes, in order."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from liif_basicsr.data.source import ImageSource
from liif_basicsr.errors import LIIFError

# f(source, index)
Function = Callable[[ImageSource, int], Any]


def each(function: Function, source: ImageSource, processes: int, title: str) -> Iterator[Any]:
    """Yield `function(source, index)` for each index in order, or the LIIFError that it raised.

    The workers are those of torch's DataLoader: they read ahead a little, and end by themselves when this process is
    killed.

    Args:
        function: must be picklable.
        processes: 1 does the work in this process.
        title: what the progress bar says.
    """
    workers = min(processes, len(source)) if processes > 1 else 0
    loader = DataLoader(_Task(function, source), batch_size=None, num_workers=workers, collate_fn=_as_it_is)
    yield from tqdm(loader, desc=title, unit="picture")


class _Task(Dataset):
    def __init__(self, function: Function, source: ImageSource) -> None:
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
