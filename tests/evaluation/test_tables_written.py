"""Tables in Markdown, LaTeX and CSV; files without results."""
from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from datafiles import refused

from liif_basicsr.evaluation import table
from liif_basicsr.evaluation.results import Results

COSTS = {"2": {"multiply_adds": 2500.0, "seconds": 0.1234, "ratio": 12345.6}, "4": {"seconds": 0.5}}
ROWS = [
    table.Row("A_1", "50% & more|x", 1_234_567, {"2": {"psnr": 30.126, "ssim": 0.91239}}, COSTS),
    table.Row("A_1", "paper", None, {"2": {"psnr": 31.0}, "4": {"psnr": float("inf")}}, {}),
    table.Row("B", "^~\\{}$#", None, {}, {}),
]


def test_markdown_escapes_and_keeps_its_columns() -> None:
    lines = table.markdown(ROWS, ["psnr", "ssim"]).splitlines()
    assert lines[0] == (
        "| set | network | parameters | x2 | x4 | thousand multiply-adds / pixel, x2, x4 | s / megapixel, x2, x4 | "
        "speedup over the official code, x2, x4 |"
    )
    assert lines[2] == r"| A_1 | 50% & more\|x | 1.23M | 30.13 / 0.9124 |  | 2 | 0.123 / 0.5 | 12346 |"
    assert lines[3] == "| A_1 | paper |  | 31.00 | inf |  |  |  |"
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {9}


def test_latex_escapes_and_separates_sets() -> None:
    lines = table.latex(ROWS, ["psnr"]).splitlines()
    assert lines[1] == r"\begin{tabular}{llrrrrrr}" and lines[-1] == r"\end{tabular}"
    assert lines[5] == r"A\_1 & 50\% \& more|x & 1.23M & 30.13 &  & 2 & 0.123 / 0.5 & 12346 \\"
    assert lines[7] == r"\midrule"
    assert lines[8].startswith(r"B & \textasciicircum{}\textasciitilde{}\textbackslash{}\{\}\$\# & ")


def test_csv_is_unrounded() -> None:
    rows = list(csv.reader(table.comma_separated(ROWS, ["psnr"]).splitlines()))
    assert rows[0] == ["set", "network", "parameters", "scale", "psnr", "multiply_adds", "seconds", "ratio"]
    assert rows[1] == ["A_1", "50% & more|x", "1234567", "2", "30.126", "2500.0", "0.1234", "12345.6"]
    assert {len(row) for row in rows} == {8}


NO_RESULTS = ["", "[1]", "{", '{"a": {"scale": "2"}}', '{"a": 3}', '{"a": {"psnr": "3", "ssim": 1}}']


@pytest.mark.parametrize("content", NO_RESULTS)
def test_files_without_results_are_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    refused(lambda: Results(path), "r.json", "not a results file")
    assert path.read_text() == content
