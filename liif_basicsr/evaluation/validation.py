"""Validation of one set at several scales: what is measured, shared out over ranks, and written down."""
from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from liif_basicsr.utils.options import scale_text

# These take floats; BasicSR's other metrics take 8-bit images.
FLOAT_METRICS = ("calculate_psnr_liif", "calculate_psnr_pt", "calculate_ssim_pt")


def set_label(name: str, scale: tuple[float, float] | None) -> str:
    """How a set at a scale is called in lines, folders and tables: 'Set5_x2'."""
    return name if scale is None else f"{name}_x{scale_text(scale)}"


def share_of(dataset: Dataset, rank: int, world_size: int) -> tuple[DataLoader, range]:
    """The items that one rank validates, one at a time, and their indices."""
    indices = range(rank, len(dataset), world_size)
    # A generator of its own: what training draws must not depend on how often one validates.
    return DataLoader(Subset(dataset, indices), batch_size=1, generator=torch.Generator()), indices


def protocol_options(protocol: str | None, scale: tuple[float, float]) -> dict[str, Any]:
    """The border and colour that a protocol compares, as options of a metric.

    Source: `calc_psnr` of the official code; a scale that is not whole takes the next whole border.
    """
    if protocol is None:
        return {"crop_border": 0, "test_y_channel": False}
    border = math.ceil(max(scale))
    return {"crop_border": border + (6 if protocol == "div2k" else 0), "test_y_channel": protocol == "benchmark"}


def measure(
    output: Tensor, gt: Tensor, metrics: Mapping[str, Mapping[str, Any]], protocol: Mapping[str, Any]
) -> list[float]:
    """The metrics of one image.

    Args:
        output, gt: (1, 3, H, W) RGB in [0, 1].
        metrics: `val: metrics` of the options; what a metric says itself goes before the protocol.
    """
    floats = {"img": output.clamp(0, 1), "img2": gt}
    images = {key: tensor2img([value]) for key, value in floats.items()}
    values = []
    for opt in metrics.values():
        own = {key: value for key, value in opt.items() if key != "better"}
        value = calculate_metric(floats if opt["type"] in FLOAT_METRICS else images, {**protocol, **own})
        values.append(float(value))
    return values


def write_table(folder: str | Path, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Write `results.md` and `results.csv`: a row for each set and scale, a column for each metric."""
    metrics = list(next(iter(rows.values())))
    folder = Path(folder)
    lines = ["| set | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    lines += [f"| {label} | " + " | ".join(f"{row[m]:.4f}" for m in metrics) + " |" for label, row in rows.items()]
    (folder / "results.md").write_text("\n".join(lines) + "\n")
    with open(folder / "results.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["set", *metrics])
        writer.writerows([label, *row.values()] for label, row in rows.items())


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum a tensor over all ranks; each entry is zero on all but one of them, so the sum is exact."""
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
    return values
