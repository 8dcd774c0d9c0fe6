"""Plot PSNR against scale, one line per network, or against time, one point per network."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

from liif_basicsr.config.scales import scale_text
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.methods import Method
from liif_basicsr.evaluation.results import Results, Values
from liif_basicsr.evaluation.sets import EvalSet, Scale
from liif_basicsr.files import check_output, write

KINDS = (".png", ".svg", ".pdf")
PANEL, SMALL_PANEL = (6.4, 4.2), (2.8, 2.4)


def check_figure(path: Path) -> None:
    """Raise LIIFError unless a figure can be plotted and written to `path`."""
    check_output(path, KINDS)
    if find_spec("matplotlib") is None:
        raise LIIFError("figures need matplotlib; run pip install 'liif_basicsr[figures]'")


def check_curve(path: Path, scales: Sequence[Scale]) -> None:
    """Raise LIIFError unless a curve over these scales can be plotted and written to `path`."""
    check_figure(path)
    if any(y != x for y, x in scales):
        raise LIIFError("--scales: a curve needs equal scales along y and x; remove the others")


def draw_curve(path: Path, methods: Sequence[Method], eval_sets: Sequence[EvalSet], results: Results) -> None:
    """Plot PSNR against scale, one panel per set. The suffix of `path` selects the file format.

    Infinite values, such as the PSNR of a filter at scale 1, are omitted.

    Args:
        results: results of every method on every set.

    Raises:
        LIIFError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    sets = list(dict.fromkeys(eval_set.name for eval_set in eval_sets))
    figure = Figure((PANEL[0] * len(sets), PANEL[1]), dpi=110, layout="constrained")
    for name, axes in zip(sets, figure.subplots(1, len(sets), squeeze=False)[0], strict=True):
        own = sorted((s for s in eval_sets if s.name == name), key=lambda eval_set: eval_set.scale)
        for method in methods:
            psnr = [results[method, eval_set]["psnr"] for eval_set in own]
            axes.plot([eval_set.scale[0] for eval_set in own], psnr, label=method.label, marker=".", linewidth=1.2)
        axes.set(title=name, xlabel="scale", ylabel="PSNR (dB)")
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, path)


def draw_times(
    path: Path,
    methods: Sequence[Method],
    eval_sets: Sequence[EvalSet],
    results: Results,
    costs: Mapping[str, Mapping[str, Values]],
) -> None:
    """Plot PSNR against time: one row of panels per set, one column per scale.

    Args:
        path: the figure; its suffix selects the file format.
        results: results of every method on every set.
        costs: costs by label and scale; `seconds` is the time per megapixel of output.

    Raises:
        LIIFError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    rows = len({eval_set.name for eval_set in eval_sets})
    columns = len(eval_sets) // rows
    figure = Figure((SMALL_PANEL[0] * columns, SMALL_PANEL[1] * rows + 0.4), dpi=110, layout="constrained")
    for eval_set, axes in zip(eval_sets, figure.subplots(rows, columns, squeeze=False).flat, strict=True):
        scale = scale_text(eval_set.scale)
        for method in methods:
            point = costs[method.label][scale]["seconds"], results[method, eval_set]["psnr"]
            axes.plot(*point, marker="o", linestyle="none", label=method.label)
        axes.set(title=f"{eval_set.name} x{scale}", xscale="log")
        axes.margins(0.15)
        axes.grid(alpha=0.3)
    for axes in figure.axes[-columns:]:
        axes.set_xlabel("s / megapixel")
    for axes in figure.axes[::columns]:
        axes.set_ylabel("PSNR (dB)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(methods))
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    content = BytesIO()
    figure.savefig(content, format=path.suffix[1:])
    write(path, content.getvalue())
