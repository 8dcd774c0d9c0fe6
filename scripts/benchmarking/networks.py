"""Table of networks: parameters, multiply-adds and time per pixel, and PSNR on Set5."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarking.cases import NETWORK
from benchmarking.timing import per_megapixel
from liif_basicsr.archs import build_network
from liif_basicsr.evaluation.cost import multiply_adds
from liif_basicsr.evaluation.formats import markdown_rows
from liif_basicsr.evaluation.methods import open_method
from liif_basicsr.evaluation.results import Results, measure_all
from liif_basicsr.evaluation.sets import open_sets
from liif_basicsr.hub.checkpoint import load
from liif_basicsr.launch.ranks import Ranks

SCALES = (2, 4, 8)
TRAINED = {
    "bicubic": "bicubic",
    "LIIF (official)": "edsr-baseline-liif",
    "liif-fast": "liif-fast",
    "liif-photo": "liif-photo",
    "Real-ESRGAN x4plus": "realesrgan-x4plus",
}
# Networks without weights, with the EDSR-baseline encoder and their default settings.
UNTRAINED = {
    "ContinuousShuffleSR": {"type": "ContinuousShuffleSR"},
    "LTE": {"type": "LTE"},
    "LMLIIF": {"type": "LMLIIF"},
    "MetaSR": {"type": "MetaSR"},
    "PixelShuffleSR x4": {"type": "PixelShuffleSR", "scale": 4},
}


def measure_networks(data: Path, results: Path, runs: int) -> None:
    """Print the table as Markdown.

    Args:
        data: folder of Set5, as written by `prepare benchmark`.
        results: file that keeps PSNR, as in tables.py.
    """
    methods = {label: open_method(f"{label}={name}") for label, name in TRAINED.items()}
    eval_sets = open_sets("Set5", data, [(scale, scale) for scale in SCALES])
    kept = Results(results)
    measure_all(list(methods.values()), eval_sets, kept, Ranks(), ["psnr"])
    scales = ", ".join(f"x{scale}" for scale in SCALES)
    rows = [["network", "parameters", f"thousand multiply-adds per pixel, {scales}", f"s / megapixel, {scales}",
             f"PSNR on Set5, {scales}"]]  # fmt: skip
    for label, method in methods.items():
        net = None if label == "bicubic" else load(TRAINED[label])
        psnr = [kept[method, eval_set]["psnr"] for eval_set in eval_sets]
        rows.append([label, *costs(net), joined([per_megapixel(method.render, s, runs) for s in SCALES]),
                     joined(psnr, ".2f")])  # fmt: skip
    for label, block in UNTRAINED.items():
        net = build_network({**block, "encoder": NETWORK["encoder"]}).eval()
        times = [per_megapixel(net.render, s, runs) for s in SCALES]
        rows.append([label, *costs(net), joined(times), ""])
    print(markdown_rows(rows), end="")


def costs(net: Any) -> list[str]:
    """Return the cells of parameters and multiply-adds, empty for a filter."""
    if net is None:
        return ["", ""]
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return [f"{parameters / 1e6:.2f}M", joined([multiply_adds(net, s) / 1e3 for s in SCALES], ".0f")]


def joined(values: Sequence[float], form: str = ".3g") -> str:
    """Format the numbers of all scales as one cell."""
    return " / ".join(format(value, form) for value in values)
