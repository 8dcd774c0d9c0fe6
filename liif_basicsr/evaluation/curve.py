"""PSNR against scale: a line for each network, a panel for each set."""
from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from liif_basicsr.evaluation.methods import Method
from liif_basicsr.evaluation.output import check_output
from liif_basicsr.evaluation.results import Results
from liif_basicsr.evaluation.sets import Scale, Subject
from liif_basicsr.utils.errors import LIIFError
from liif_basicsr.utils.files import write

KINDS = (".png", ".svg", ".pdf")
PANEL = (6.4, 4.2)


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
    content = BytesIO()
    figure.savefig(content, format=path.suffix[1:])
    write(path, content.getvalue())
