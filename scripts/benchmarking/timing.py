"""Alternating time measurements, and rows of the benchmark's table."""
from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarking.cases import LOW
from liif_basicsr.devices import unfit_driver
from liif_basicsr.errors import LIIFError, summarize

Work = Callable[[], Any]

# Names of the rows that could not be measured.
failed: list[str] = []


def use_device(name: str) -> None:
    """Set the default device of tensors, networks and time measurements, and disable TF32.

    Raises:
        LIIFError: the device is not available.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise LIIFError(f"--device cuda: {unfit_driver() or 'torch cannot use a GPU'}")
    torch.set_default_device(name)
    torch.backends.cudnn.allow_tf32 = False
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores", UserWarning)  # torch.compile advises enabling TF32


def seconds(work: Work, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the time of one call in seconds. If the default device is a GPU, CUDA events measure it."""
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
    """Yield pairs (their time, our time) in seconds from alternating calls, after one warm-up call of each."""
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
    """Measure and print a row, and return the median of our times in seconds.

    If the measurement fails, the row shows the reason, the row's name is added to `failed`, and NaN is returned.

    Args:
        name: first cell of the row.
        theirs, ours: functions to time alternately; without `theirs`, only our time is shown.
        runs: number of measurements.
        clock: clock in seconds.
        per: number of repetitions of the work in one call. The times are divided by it.
    """
    try:
        times = list(pairs(theirs, ours, runs, clock))
    except Exception as error:  # the other rows are still useful
        failed.append(name)
        print(f"| {name} | failed: {summarize(error)} | | |", flush=True)
        return math.nan
    own = statistics.median(b for _, b in times) / per
    ratios = sorted(a / b for a, b in times)
    line = f"| {name} | {own * 1000:.{1 if own < 0.1 else 0}f} ms | "
    line += f"{statistics.median(ratios):.1f} | {ratios[0]:.1f} to {ratios[-1]:.1f} |" if theirs else "| |"
    print(line, flush=True)
    return own


def per_megapixel(render: Callable[[torch.Tensor, tuple[int, int]], Any], scale: float, runs: int) -> float:
    """Return the median time in seconds per megapixel of output, after a warm-up call. The input has size LOW."""
    lq, size = torch.rand(1, 3, *LOW), (round(scale * LOW[0]), round(scale * LOW[1]))
    with torch.no_grad():
        taken = [own for _, own in pairs(None, lambda: render(lq, size), runs)]
    return statistics.median(taken) / (size[0] * size[1] / 1e6)
