"""Measures images by a protocol, divides a validation among ranks, and writes its table."""
from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from liif_basicsr.config.options import scale_text
from liif_basicsr.evaluation.formats import csv_rows, markdown_rows
from liif_basicsr.files import write
from liif_basicsr.plugin.registry import TABLE

# Metrics that take floats: the plugin's, and two of BasicSR's, whose others take 8-bit images.
FLOAT_METRICS = (*TABLE["METRIC_REGISTRY"], "calculate_psnr_pt", "calculate_ssim_pt")


def set_label(name: str, scale: tuple[float, float] | None) -> str:
    """Name of a set at a scale in logs, folders and tables: 'Set5_x2'."""
    return name if scale is None else f"{name}_x{scale_text(scale)}"


def share_of(dataset: Dataset, rank: int, world_size: int) -> tuple[DataLoader, range]:
    """A loader of the items that one rank validates, in batches of one, and their indices."""
    indices = range(rank, len(dataset), world_size)
    # Its own generator, so that the samples of training do not depend on how often validation runs.
    return DataLoader(Subset(dataset, indices), batch_size=1, generator=torch.Generator()), indices


def protocol_options(protocol: str | None, scale: tuple[float, float]) -> dict[str, Any]:
    """Border and colour space of a protocol, as options of a metric.

    Source: `calc_psnr` of the official code; a fractional scale is rounded up to the border.
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
        metrics: `val: metrics` of the options; a metric's own options override the protocol.
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
    head, folder = ["set", *metrics], Path(folder)
    rounded = [[label, *(f"{row[metric]:.4f}" for metric in metrics)] for label, row in rows.items()]
    write(folder / "results.md", markdown_rows([head, *rounded]).encode())
    write(folder / "results.csv", csv_rows([head, *([label, *row.values()] for label, row in rows.items())]).encode())


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum a tensor over all ranks; exact, because each entry is zero on all ranks but one."""
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
    return values
