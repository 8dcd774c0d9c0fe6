"""PSNR against scale, a line for each network; PSNR against time, a point for each."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

from liif_basicsr.config.options import scale_text
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.methods import Method
from liif_basicsr.evaluation.output import check_output
from liif_basicsr.evaluation.results import Results
from liif_basicsr.evaluation.sets import Scale, Subject
from liif_basicsr.files import write

KINDS = (".png", ".svg", ".pdf")
PANEL, TIMES_PANEL = (6.4, 4.2), (4, 3.6)


def check_curve(path: Path, scales: Sequence[Scale]) -> None:
    """Raise LIIFError unless a curve over these scales can be drawn and written to `path`."""
    check_output(path, KINDS)
    if any(y != x for y, x in scales):
        raise LIIFError("--scales: a curve needs scales that are equal along y and x")
    if find_spec("matplotlib") is None:
        raise LIIFError("a curve needs matplotlib: pip install 'liif_basicsr[figures]'")


def draw_curve(path: Path, methods: Sequence[Method], subjects: Sequence[Subject], results: Results) -> None:
    """Draw the results and write them in the format of the file's suffix.

    A point that is not finite, such as a filter's at x1, is left out.

    Args:
        results: must contain all methods on all subjects.

    Raises:
        LIIFError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    sets = list(dict.fromkeys(subject.name for subject in subjects))
    figure = Figure((PANEL[0] * len(sets), PANEL[1]), dpi=110, layout="constrained")
    for name, axes in zip(sets, figure.subplots(1, len(sets), squeeze=False)[0], strict=True):
        own = sorted((s for s in subjects if s.name == name), key=lambda subject: subject.scale)
        for method in methods:
            psnr = [results[method, subject]["psnr"] for subject in own]
            axes.plot([subject.scale[0] for subject in own], psnr, label=method.label, marker=".", linewidth=1.2)
        axes.set(title=name, xlabel="scale", ylabel="PSNR (dB)")
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, path)


def draw_times(
    path: Path,
    methods: Sequence[Method],
    subjects: Sequence[Subject],
    results: Results,
    times: Mapping[tuple[str, Scale], float],
) -> None:
    """Draw PSNR against time, a panel for each set at each scale, and write it in the format of the file's suffix.

    Args:
        results: must contain all methods on all subjects.
        times: seconds for a megapixel of output, by a method's label and a scale.

    Raises:
        LIIFError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure((TIMES_PANEL[0] * len(subjects), TIMES_PANEL[1]), dpi=110, layout="constrained")
    for subject, axes in zip(subjects, figure.subplots(1, len(subjects), squeeze=False)[0], strict=True):
        for method in methods:
            point = times[method.label, subject.scale], results[method, subject]["psnr"]
            axes.plot(*point, marker="o", linestyle="none", label=method.label)
        axes.set(title=f"{subject.name} x{scale_text(subject.scale)}", xscale="log", xlabel="s / megapixel")
        axes.margins(0.15)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("PSNR (dB)")
    figure.axes[-1].legend(loc="lower right")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    content = BytesIO()
    figure.savefig(content, format=path.suffix[1:])
    write(path, content.getvalue())
