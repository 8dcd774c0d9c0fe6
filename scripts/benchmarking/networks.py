"""Table of decoders on the EDSR-baseline encoder: parameters, multiply-adds and time per pixel."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarking.cases import NETWORK
from benchmarking.timing import per_megapixel
from liif_basicsr.archs import build_network
from liif_basicsr.evaluation.cost import multiply_adds
from liif_basicsr.evaluation.formats import markdown_rows

SCALES = (2, 4, 8)
# Networks with their default settings.
BLOCKS = {
    "LIIF": {"type": "LIIF"},
    "ContinuousShuffleSR": {"type": "ContinuousShuffleSR"},
    "LTE": {"type": "LTE"},
    "LMLIIF": {"type": "LMLIIF"},
    "MetaSR": {"type": "MetaSR"},
    "PixelShuffleSR x4": {"type": "PixelShuffleSR", "scale": 4},
}


def measure_networks(runs: int) -> None:
    """Print the table as Markdown."""
    scales = ", ".join(f"x{scale}" for scale in SCALES)
    rows = [["network", "parameters", f"thousand multiply-adds / pixel, {scales}", f"s / megapixel, {scales}"]]
    for label, block in BLOCKS.items():
        net: Any = build_network({**block, "encoder": NETWORK["encoder"]}).eval()
        parameters = sum(parameter.numel() for parameter in net.parameters())
        cost = [multiply_adds(net, (scale, scale)) / 1e3 for scale in SCALES]
        times = [per_megapixel(net.render, scale, runs) for scale in SCALES]
        rows.append([label, f"{parameters / 1e6:.2f}M", joined(cost, ".0f"), joined(times)])
    print(markdown_rows(rows), end="")


def joined(values: Sequence[float], form: str = ".3g") -> str:
    """Format the numbers of all scales as one cell of the table."""
    return " / ".join(format(value, form) for value in values)
