"""Format rows of cells as Markdown, LaTeX or CSV. The first row is the header."""
from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any


def markdown_rows(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    head, *body = [[cell.replace("|", r"\|") for cell in cells] for cells in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *body))


def latex_rows(rows: Sequence[Sequence[str]]) -> str:
    """Return a LaTeX tabular with a rule wherever the first column changes. Requires booktabs."""
    head, *body = [[escape_latex(cell) for cell in cells] for cells in rows]
    lines = [r"% \usepackage{booktabs}", rf"\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}", r"\toprule"]
    for before, cells in zip([None, head, *body], [head, *body], strict=False):
        if before is not None and before[0] != cells[0]:
            lines.append(r"\midrule")
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def csv_rows(rows: Sequence[Sequence[Any]]) -> str:
    """Return comma-separated values; None becomes an empty cell."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def escape_latex(text: str) -> str:
    """Escape LaTeX's special characters."""
    special = {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        **{c: f"\\{c}" for c in "&%$#_{}"},
    }  # fmt: skip
    return "".join(special.get(c, c) for c in text)
