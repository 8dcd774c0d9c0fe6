"""Measure trained variants: PSNR over several seeds and the cost of rendering, as a table in a page and as a figure."""
from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarking.cases import LOW
from benchmarking.timing import pairs
from liif_basicsr.config.scales import scale_text
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.cost import multiply_adds
from liif_basicsr.evaluation.formats import markdown_rows
from liif_basicsr.evaluation.methods import open_method
from liif_basicsr.evaluation.results import Results, measure_all
from liif_basicsr.evaluation.sets import EvalSet
from liif_basicsr.files import write
from liif_basicsr.hub.checkpoint import load
from liif_basicsr.launch.ranks import Ranks

# File in the folder of a training: its CPU time and the cost of rendering.
COST = "cost.json"


class Cost(NamedTuple):
    """Cost of rendering at x4: parameters, multiply-adds per pixel, CPU seconds per megapixel, and bytes of memory."""

    parameters: int
    adds: float
    seconds: float
    added: int


class Row(NamedTuple):
    """A variant's means over its seeds.

    psnr: mean and standard deviation by set and scale.
    training: CPU seconds; None for a filter.
    cost: None if it was not measured.
    """

    name: str
    psnr: dict[EvalSet, tuple[float, float]]
    training: float | None
    cost: Cost | None

    def cells(self, with_cost: bool) -> list[str]:
        """Return the cells of the table."""
        costs = [""] * 4
        if self.cost:
            costs = [f"{self.cost.parameters / 1e3:.0f}k", f"{self.cost.adds / 1e3:.1f}", f"{self.cost.seconds:.2f}",
                     f"{self.cost.added / 2**20:.0f}"]  # fmt: skip
        values: dict[str, list[str]] = {}
        for eval_set, (mean, spread) in self.psnr.items():
            text = f"{mean:.2f} ± {spread:.2f}" if self.training else f"{mean:.2f}"
            values.setdefault(eval_set.name, []).append(text)
        training = f"{self.training:.0f}" if self.training else ""
        return [self.name, *(costs if with_cost else []), training, *map(" / ".join, values.values())]


def measure_cost(path: Path) -> Cost:
    """Measure a checkpoint's network on one thread. Call it in a process of its own, whose peak memory it reads."""
    import resource  # Unix only

    torch.set_num_threads(1)
    net: Any = load(path)
    lq, size = torch.rand(1, 3, *LOW), (4 * LOW[0], 4 * LOW[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = [own for _, own in pairs(None, lambda: net.render(lq, size), 5, time.process_time)]
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return Cost(parameters, multiply_adds(net, (4, 4)), min(taken) / (size[0] * size[1] / 1e6), added)


def rendering_cost(checkpoint: Path, file: Path) -> Cost:
    """Return the cost of rendering with a checkpoint, measured in a process of its own and kept in its cost file."""
    kept = json.loads(file.read_text(encoding="utf-8"))
    if "rendering" not in kept:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            kept["rendering"] = pool.submit(measure_cost, checkpoint).result()._asdict()
        write(file, json.dumps(kept).encode())
    return Cost(**kept["rendering"])


def measure_rows(
    trained: Mapping[str, Mapping[int, Path]], eval_sets: Sequence[EvalSet], results: Results, with_cost: bool
) -> list[Row]:
    """Measure bicubic interpolation and all variants.

    Args:
        trained: checkpoints by variant and seed.
        results: keeps each PSNR.
        with_cost: also measure the cost of rendering, with the first seed.
    """
    methods = {name: [open_method(f"{name} {seed}={path}") for seed, path in paths.items()]
               for name, paths in trained.items()}  # fmt: skip
    methods = {"bicubic": [open_method("bicubic")], **methods}
    measure_all([method for own in methods.values() for method in own], eval_sets, results, Ranks(), ["psnr"])
    rows = []
    for name, own in methods.items():
        psnr = {}
        for eval_set in eval_sets:
            values = [results[method, eval_set]["psnr"] for method in own]
            psnr[eval_set] = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
        training = cost = None
        if name in trained:
            paths = list(trained[name].values())
            files = [path.parents[1] / COST for path in paths]
            training = statistics.mean(json.loads(file.read_text())["seconds"] for file in files)
            cost = rendering_cost(paths[0], files[0]) if with_cost else None
        rows.append(Row(name, psnr, training, cost))
    return rows


def split_page(page: Path, name: str) -> tuple[str, str]:
    """Return the text before and after the page's table `name`, with the lines `<!-- name -->` and `<!-- end -->`.

    Raises:
        LIIFError: the page cannot be read, or lacks these lines.
    """
    start, end = f"<!-- {name} -->\n", "<!-- end -->\n"
    try:
        before, found, rest = page.read_text(encoding="utf-8").partition(start)
    except OSError as error:
        raise LIIFError(f"{page}: cannot be read: {error.strerror}") from None
    if not found or end not in rest:
        raise LIIFError(f"{page}: lacks the lines {start.strip()} and {end.strip()} around the table; add them")
    return before + start, end + rest.partition(end)[2]


def write_page(name: str, rows: Sequence[Row], page: Path) -> None:
    """Print the table and put it into the page."""
    scales: dict[str, str] = {}
    for eval_set in rows[0].psnr:
        scales[eval_set.name] = scales.get(eval_set.name, eval_set.name) + f", x{scale_text(eval_set.scale)}"
    with_cost = any(row.cost for row in rows)
    costs = ["parameters", "thousand multiply-adds per pixel", "CPU s / megapixel", "memory, MiB"]
    head = ["network", *costs] if with_cost else ["training"]
    table = markdown_rows([[*head, "training, CPU s", *scales.values()], *(row.cells(with_cost) for row in rows)])
    print(table, end="")
    before, after = split_page(page, name)
    write(page, f"{before}\n{table}\n{after}".encode())


def draw(rows: Sequence[Row], path: Path) -> None:
    """Plot PSNR on the last set against the CPU time per megapixel, one panel per scale, with the spread over seeds."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    eval_sets = list(rows[0].psnr)
    last = [eval_set for eval_set in eval_sets if eval_set.name == eval_sets[-1].name]
    figure = Figure((4.4 * len(last), 3.8), dpi=110, layout="constrained")
    for eval_set, axes in zip(last, figure.subplots(1, len(last), squeeze=False)[0], strict=True):
        for row in rows:
            if row.cost:
                mean, spread = row.psnr[eval_set]
                axes.errorbar(row.cost.seconds, mean, spread, marker="o", capsize=3, linestyle="none", label=row.name)
        axes.set(title=f"{eval_set.name} x{scale_text(eval_set.scale)}", xscale="log", xlabel="CPU s / megapixel at x4")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("PSNR (dB)")
    figure.axes[-1].legend(fontsize="small")
    content = BytesIO()
    figure.savefig(content, format="png")
    write(path, content.getvalue())
