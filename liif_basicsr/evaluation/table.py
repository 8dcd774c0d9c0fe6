"""Table of results as Markdown, CSV or LaTeX: one row per set and network, one column per scale."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from liif_basicsr.config.scales import scale_text
from liif_basicsr.evaluation.formats import csv_rows, latex_rows, markdown_rows
from liif_basicsr.evaluation.methods import Method
from liif_basicsr.evaluation.published import PUBLISHED
from liif_basicsr.evaluation.results import TO_REFERENCE, Reference, Results, Values
from liif_basicsr.evaluation.sets import EvalSet

PUBLISHED_BY = " (published)"
# Name of a cost -> its heading in the table. A cost depends on the scale, but not on the set.
COSTS = {
    "multiply_adds": "thousand multiply-adds / pixel",
    "seconds": "s / megapixel",
    "ratio": "speedup over the official code",
}
DIGITS = {"psnr": 2, "psnr_mean": 2, "ssim": 4, "niqe": 2, TO_REFERENCE: 2}


class Row(NamedTuple):
    """Results of a network on a set.

    Attributes:
        set: name of the set.
        label: name of the network.
        parameters: number of the network's parameters, or None.
        values: scale (as `scale_text` writes it) -> values by metric.
        costs: scale -> costs, with the keys of COSTS.
    """

    set: str
    label: str
    parameters: int | None
    values: Mapping[str, Values]
    costs: Mapping[str, Values]


def make_rows(
    methods: Sequence[Method],
    eval_sets: Sequence[EvalSet],
    results: Results,
    costs: Mapping[str, Mapping[str, Values]],
    reference: Reference | None = None,
) -> list[Row]:
    """Return the rows of the table: for each set, all methods, then the published results.

    Args:
        methods, eval_sets: the methods and sets to include.
        results: results of every method on every set.
        costs: costs by label and scale, with the keys of COSTS.
        reference: include the PSNR between each method's outputs and the reference's, as TO_REFERENCE.
    """
    rows = []
    for name in dict.fromkeys(eval_set.name for eval_set in eval_sets):
        own = [eval_set for eval_set in eval_sets if eval_set.name == name]
        for method in methods:
            values = {scale_text(eval_set.scale): _named(results[method, eval_set], reference) for eval_set in own}
            rows.append(Row(name, method.label, method.parameters, values, costs.get(method.label, {})))
        scales = [scale_text(eval_set.scale) for eval_set in own]
        other = any(eval_set.degradation or eval_set.kind.channels != 3 for eval_set in own)
        published = {} if other else PUBLISHED.get(name, {})
        for label, psnr in published.items():
            known = {scale: {"psnr": psnr[scale]} for scale in scales if scale in psnr}
            rows += [Row(name, label + PUBLISHED_BY, None, known, {})] if known else []
    return rows


def _named(values: Values, reference: Reference | None) -> Values:
    return {**values, TO_REFERENCE: values[reference.metric]} if reference else values


def markdown(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Return a Markdown table."""
    return markdown_rows(_cells(rows, metrics))


def latex(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Return a LaTeX table with a rule between sets."""
    return latex_rows(_cells(rows, metrics))


def comma_separated(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Return CSV with one line per set, network and scale, unrounded numbers and a column per cost."""
    costs = _known_costs(rows)
    lines: list[list[object]] = [["set", "network", "parameters", "scale", *metrics, *costs]]
    for row in rows:
        for scale, values in row.values.items():
            numbers = [values.get(metric) for metric in metrics]
            numbers += [row.costs.get(scale, {}).get(cost) for cost in costs]
            lines.append([row.set, row.label, row.parameters, scale, *numbers])
    return csv_rows(lines)


def _cells(rows: Sequence[Row], metrics: Sequence[str]) -> list[list[str]]:
    """Return the cells of a formatted table, header first. The costs at all scales share one cell."""
    scales = list(dict.fromkeys(scale for row in rows for scale in row.values))
    costs, named = _known_costs(rows), [f"x{scale}" for scale in scales]
    headings = [f"{COSTS[cost]}, {', '.join(named)}" for cost in costs]
    table = [["set", "network", "parameters", *named, *headings]]
    for row in rows:
        numbers = [" / ".join(_number(row.values.get(scale, {}), metric) for metric in metrics).strip(" /")
                   for scale in scales]  # fmt: skip
        joined = [" / ".join(_cost(row.costs.get(scale, {}), cost) for scale in scales).strip(" /") for cost in costs]
        count = "" if row.parameters is None else f"{row.parameters / 1e6:.2f}M"
        table.append([row.set, row.label, count, *numbers, *joined])
    return table


def _number(values: Values, metric: str) -> str:
    return f"{values[metric]:.{DIGITS[metric]}f}" if metric in values else ""


def _cost(values: Values, cost: str) -> str:
    if cost not in values:
        return ""
    value = values[cost] / 1e3 if cost == "multiply_adds" else values[cost]
    return f"{value:.0f}" if value >= 1000 or cost == "multiply_adds" else f"{value:.3g}"


def _known_costs(rows: Sequence[Row]) -> list[str]:
    """Return the keys of COSTS that at least one row has."""
    return [cost for cost in COSTS if any(cost in values for row in rows for values in row.costs.values())]


# Suffix of a file -> function that formats the table.
FORMS = {".md": markdown, ".csv": comma_separated, ".tex": latex}
