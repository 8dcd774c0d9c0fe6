"""Measure the PSNR (over several seeds) and the costs of trained variants, and write tables and a figure."""
from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from benchmarking.cases import LOW
from benchmarking.timing import Work, seconds
from liif_basicsr.archs import build_network
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

SIZE = (4 * LOW[0], 4 * LOW[1])
# Rounds of alternating time measurements.
ROUNDS = 15


class Cost(NamedTuple):
    """Cost of a network.

    Attributes:
        parameters: number of parameters.
        adds: multiply-adds per output pixel at x4.
        added: bytes that rendering an output of SIZE adds to the peak memory of the process.
        rendering: CPU seconds per megapixel when an output of SIZE is rendered.
        step: CPU seconds per training step.
    """

    parameters: int
    adds: float
    added: int
    rendering: float
    step: float


# Columns of the table.
COLUMNS: dict[str, Callable[[Cost], str]] = {
    "parameters": lambda cost: f"{cost.parameters / 1e3:.0f}k",
    "thousand multiply-adds per pixel": lambda cost: f"{cost.adds / 1e3:.1f}",
    "memory, MiB": lambda cost: f"{cost.added / 2**20:.0f}",
    "CPU s per megapixel": lambda cost: f"{cost.rendering:.2f}",
    "CPU ms per training step": lambda cost: f"{cost.step * 1e3:.0f}",
}


class Row(NamedTuple):
    """A variant's name, and the mean and standard deviation of its PSNR over the seeds, by set and scale."""

    name: str
    psnr: dict[EvalSet, tuple[float, float]]

    def cells(self) -> list[str]:
        """Return one cell for each set."""
        values: dict[str, list[str]] = {}
        for eval_set, (mean, spread) in self.psnr.items():
            text = f"{mean:.2f}" if self.name == "bicubic" else f"{mean:.2f} ± {spread:.2f}"
            values.setdefault(eval_set.name, []).append(text)
        return [" / ".join(cell) for cell in values.values()]


def training_step(options: Mapping[str, Any]) -> Work:
    """Return a function that does one step of Adam with random data, in the shapes that the options set."""
    data = options["datasets"]["train"]
    batch, side, queries = (data[key] for key in ("batch_size_per_gpu", "lq_size", "sample_q"))
    net = build_network(options["network_g"]).train()
    optimizer = torch.optim.Adam(net.parameters())
    lq, gt = torch.rand(batch, 3, side, side), torch.rand(batch, queries, 3)
    coord, cell = torch.rand(batch, queries, 2) * 2 - 1, torch.full((batch, 1, 2), 1 / side)

    def step() -> None:
        optimizer.zero_grad()
        F.l1_loss(net(lq, coord, cell), gt).backward()
        optimizer.step()

    return step


def rendering(checkpoint: Path) -> Work:
    """Return a function that renders an image of SIZE with a checkpoint."""
    net: Any = load(checkpoint)
    lq = torch.rand(1, 3, *LOW)
    return lambda: net.render(lq, SIZE)


def alternate(works: Mapping[str, Work], file: Path) -> dict[str, float]:
    """Call functions alternately on one thread, and return the median CPU time of each function in seconds.

    The times are saved in `file`. If the file lacks the time of one of the functions, all are measured again.
    """
    kept: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if not works.keys() <= kept.keys():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        taken = [{name: seconds(work, time.process_time) for name, work in works.items()} for _ in range(ROUNDS + 1)]
        torch.set_num_threads(threads)
        kept = {name: statistics.median(times[name] for times in taken[1:]) for name in works}
        write(file, json.dumps(kept, indent=1).encode())
    return kept


def network_size(checkpoint: Path) -> tuple[int, float, int]:
    """Return the first three fields of `Cost`. Must run in a new process, because it reads the peak memory."""
    import resource  # Unix only

    torch.set_num_threads(1)
    net: Any = load(checkpoint)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net.render(torch.rand(1, 3, *LOW), SIZE)
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return sum(parameter.numel() for parameter in net.parameters()), multiply_adds(net, (4, 4)), added


def measure_costs(checkpoints: Mapping[str, Path], steps: Mapping[str, float], file: Path) -> dict[str, Cost]:
    """Measure the costs of networks.

    Args:
        checkpoints: one checkpoint of each network.
        steps: CPU seconds per training step of each network.
        file: JSON file for the rendering times, see `alternate`.
    """
    times = alternate({name: rendering(path) for name, path in checkpoints.items()}, file)
    costs = {}
    for name, path in checkpoints.items():
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            sizes = pool.submit(network_size, path).result()
        costs[name] = Cost(*sizes, times[name] / (SIZE[0] * SIZE[1] / 1e6), steps[name])
    return costs


def measure_psnr(
    trained: Mapping[str, Mapping[int, Path]], eval_sets: Sequence[EvalSet], results: Results
) -> list[Row]:
    """Measure the PSNR of bicubic interpolation and of all variants, and return a row for each.

    Args:
        trained: checkpoints by variant and seed.
        eval_sets: the sets to measure on, each at one scale.
        results: the results file, where each PSNR is saved.
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
        rows.append(Row(name, psnr))
    return rows


def split_page(page: Path, name: str) -> tuple[str, str]:
    """Split a page at its table `name`, which is between the lines `<!-- name -->` and `<!-- end -->`.

    Returns:
        The text up to and including the first of these lines, and the text from the second line on.

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


def cost_columns(costs: Sequence[Cost | None]) -> dict[str, list[str]]:
    """Return the cost columns of a table: title -> cells. The cells of None are empty."""
    return {title: [format_cost(cost) if cost else "" for cost in costs] for title, format_cost in COLUMNS.items()}


def write_table(
    name: str, first: str, columns: Mapping[str, Sequence[str]], rows: Sequence[Row], page: Path
) -> None:
    """Print a table and write it into a page.

    Args:
        name: name of the table on the page, see `split_page`.
        first: title of the first column, which contains the variants' names.
        columns: further columns before the PSNR: title -> cells.
        rows: the variants.
        page: Markdown file.
    """
    scales: dict[str, str] = {}
    for eval_set in rows[0].psnr:
        scales[eval_set.name] = scales.get(eval_set.name, eval_set.name) + f", x{scale_text(eval_set.scale)}"
    cells = zip(*columns.values(), strict=True)
    body = [[row.name, *own, *row.cells()] for row, own in zip(rows, cells, strict=True)]
    table = markdown_rows([[first, *columns, *scales.values()], *body])
    print(table, end="")
    before, after = split_page(page, name)
    write(page, f"{before}\n{table}\n{after}".encode())


def draw(rows: Sequence[Row], costs: Mapping[str, Cost], path: Path) -> None:
    """Plot PSNR on the last set against the CPU time per megapixel, one panel per scale, with the spread over seeds."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    eval_sets = list(rows[0].psnr)
    last = [eval_set for eval_set in eval_sets if eval_set.name == eval_sets[-1].name]
    figure = Figure((4.4 * len(last), 3.8), dpi=110, layout="constrained")
    for eval_set, axes in zip(last, figure.subplots(1, len(last), squeeze=False)[0], strict=True):
        for name, psnr in rows:
            if name in costs:
                mean, spread = psnr[eval_set]
                axes.errorbar(costs[name].rendering, mean, spread, marker="o", capsize=3, linestyle="none", label=name)
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
