"""Alternating measurements of time, and rows of the benchmark's table."""
from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarking.cases import LOW
from liif_basicsr.devices import unfit_driver
from liif_basicsr.errors import LIIFError

Work = Callable[[], Any]


def use_device(name: str) -> None:
    """Make a device the default one, on which tensors and networks are made, and calls are timed.

    Raises:
        LIIFError: there is no such device.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise LIIFError(f"--device cuda: {unfit_driver() or 'there is no GPU that torch can use'}")
    torch.set_default_device(name)


def seconds(work: Work, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that one call takes; where the default device is a GPU, between two events on it."""
    if torch.get_default_device().type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000
    begun = clock()
    work()
    return clock() - begun


def pairs(
    theirs: Work | None, ours: Work, runs: int, clock: Callable[[], float] = time.perf_counter
) -> Iterator[tuple[float, float]]:
    """Alternating times of both, after one uncounted call of each."""
    for run in range(runs + 1):
        both = (seconds(theirs, clock) if theirs else float("nan"), seconds(ours, clock))
        if run:
            yield both


def row(
    name: str,
    theirs: Work | None,
    ours: Work,
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
    per: int = 1,
) -> float:
    """Measure and print a row; returns the median of our times. A call does its work `per` times."""
    times = list(pairs(theirs, ours, runs, clock))
    own = statistics.median(b for _, b in times) / per
    ratios = sorted(a / b for a, b in times)
    line = f"| {name} | {own * 1000:.{1 if own < 0.1 else 0}f} ms | "
    line += f"{statistics.median(ratios):.1f} | {ratios[0]:.1f} to {ratios[-1]:.1f} |" if theirs else "| |"
    print(line, flush=True)
    return own


def per_megapixel(render: Callable[[torch.Tensor, tuple[int, int]], Any], scale: float, runs: int) -> float:
    """Seconds for a megapixel of output of an image of LOW, enlarged by a scale: the median, after an uncounted one."""
    lq, size = torch.rand(1, 3, *LOW), (round(scale * LOW[0]), round(scale * LOW[1]))
    with torch.no_grad():
        taken = [own for _, own in pairs(None, lambda: render(lq, size), runs)]
    return statistics.median(taken) / (size[0] * size[1] / 1e6)
