"""Label the sets of a validation, compute metrics under a protocol, and write the table of a test run."""
from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from basicsr.utils.registry import DATASET_REGISTRY, METRIC_REGISTRY
from torch import Tensor

from liif_basicsr.config.scales import scale_pair, scale_text
from liif_basicsr.errors import LIIFError, errors_in
from liif_basicsr.evaluation.formats import csv_rows, markdown_rows
from liif_basicsr.files import write
from liif_basicsr.registration import ENTRIES

# BasicSR's metrics that take float images, like the plugin's metrics. BasicSR's other metrics take 8-bit images.
FLOAT_METRICS = ("calculate_psnr_pt", "calculate_ssim_pt")


def set_label(name: str, scale: tuple[float, float] | None) -> str:
    """Return the name for a set and scale, such as 'Set5_x2', in logs, folders and tables."""
    return name if scale is None else f"{name}_x{scale_text(scale)}"


def check_labels(datasets: Mapping[str, Mapping[str, Any]], scale: Any = None) -> None:
    """Raise LIIFError if two sets have the same name and scale, because their results would overwrite each other.

    Args:
        datasets: the block `datasets` of the options.
        scale: the `scale` at the top level. BasicSR copies it into every dataset.
    """
    owners: dict[str, str] = {}
    classes = dict(iter(DATASET_REGISTRY))
    for phase, block in datasets.items():
        if phase.split("_")[0] not in ("val", "test"):
            continue
        try:
            options = getattr(classes.get(block.get("type")), "val_options", None)
            scales = block.get("scales") or [block.get("scale") if scale is None else scale]
            has_scales = "scales" in getattr(options, "model_fields", ()) and scales != [None]
            pairs: list[Any] = [scale_pair(one) for one in scales] if has_scales else [None]
        except (TypeError, ValueError):  # the dataset reports it
            continue
        for pair in pairs:
            label = set_label(str(block.get("name")), pair)
            if label in owners:
                raise LIIFError(
                    f"datasets: {phase}: name: {owners[label]} has a set {label}, too, and the results would overwrite "
                    "each other; rename one"
                )
            owners[label] = phase


def protocol_options(protocol: str | None, scale: tuple[float, float]) -> dict[str, Any]:
    """Return the border and color space of a protocol as options of a metric.

    Source: `calc_psnr` of the official code. For a fractional scale, the border is rounded up.
    """
    if protocol is None:
        return {"crop_border": 0, "test_y_channel": False}
    border = math.ceil(max(scale))
    return {"crop_border": border + (6 if protocol == "div2k" else 0), "test_y_channel": protocol == "benchmark"}


def measure(
    output: Tensor,
    gt: Tensor,
    metrics: Mapping[str, Mapping[str, Any]],
    protocol: Mapping[str, Any],
    rounded: bool = True,
    value_range: tuple[float, float] = (0, 1),
) -> list[float]:
    """Compute the metrics of one image.

    Args:
        output, gt: images (1, C, H, W) in [0, 1]. If C is not 3, `test_y_channel` has no effect.
        metrics: the `val: metrics` block; its options override the protocol's.
        protocol: see `protocol_options`.
        rounded: round the images to 8 bits for BasicSR's metrics, as BasicSR does; otherwise pass them as floats.
        value_range: pixel values of the data that became 0 and 1. A metric's option `data_range` is in the same unit.

    Returns:
        One value per metric.
    """
    floats = {"img": output.clamp(0, 1), "img2": gt}
    images = {key: _as_array(value, rounded) for key, value in floats.items()}
    values = []
    for name, opt in metrics.items():
        options = metric_options(opt, protocol)
        if gt.shape[1] != 3 and "test_y_channel" in options:
            options["test_y_channel"] = False
        if options.get("data_range") is not None:
            options["data_range"] /= value_range[1] - value_range[0]
        if 2 * options.get("crop_border", 0) >= min(gt.shape[-2:]):
            size, border = f"{gt.shape[-2]}x{gt.shape[-1]}", options["crop_border"]
            raise LIIFError(f"val: metrics: {name}: a crop_border of {border} leaves no pixels of an image of {size}; "
                            "lower it")  # fmt: skip
        if opt["type"] == "calculate_niqe":
            height, width = (side - 2 * options.get("crop_border", 0) for side in gt.shape[-2:])
            if (height // 96) * (width // 96) < 2:
                raise LIIFError(f"val: metrics: {name}: NIQE needs two blocks of 96x96 pixels, but an image without "
                                f"its border has {height}x{width}; use larger ones, or remove the metric")  # fmt: skip
        takes_floats = opt["type"] in FLOAT_METRICS or opt["type"] in ENTRIES["METRIC_REGISTRY"]
        with errors_in(f"val: metrics: {name}"):
            values.append(float(calculate_metric(floats if takes_floats else images, options)))
    return values


def per_band(metrics: Mapping[str, Mapping[str, Any]], channels: int) -> dict[str, dict[str, Any]]:
    """Return `metrics`, with `<name>_band<k>` and `<name>_mean` added for each metric that sets `per_band`."""
    expanded = {}
    for name, opt in metrics.items():
        expanded[name] = {key: value for key, value in opt.items() if key != "per_band"}
        if opt.get("per_band"):
            bands = {**{f"band{k}": k for k in range(1, channels + 1)}, "mean": "mean"}
            expanded |= {f"{name}_{suffix}": {**expanded[name], "band": band} for suffix, band in bands.items()}
    return expanded


def _as_array(image: Tensor, rounded: bool) -> np.ndarray:
    """Convert an image (1, C, H, W) in [0, 1], RGB or other bands, to an array in [0, 255] for BasicSR's metrics.

    The array is (H, W, C), or (H, W) for a gray image that is `rounded` to 8 bits. Three channels are in BGR order.
    """
    if rounded and image.shape[1] in (1, 3):
        return tensor2img([image])
    pixels = image[0].double().cpu().permute(1, 2, 0).numpy() * 255
    pixels = pixels.round().astype(np.uint8) if rounded else pixels
    return pixels[..., ::-1] if pixels.shape[2] == 3 else pixels


def metric_options(opt: Mapping[str, Any], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the protocol's options that a metric accepts into the metric's options, which take precedence."""
    parameters = inspect.signature(METRIC_REGISTRY.get(opt["type"])).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    taken = {key: value for key, value in protocol.items() if takes_any or key in parameters}
    return {**taken, **{key: value for key, value in opt.items() if key != "better"}}


def write_table(folder: str | Path, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Write `results.md` and `results.csv`: one row per set and scale, one column per metric.

    Args:
        folder: folder of the two files.
        rows: label from `set_label` -> metric -> value.
    """
    metrics = list(next(iter(rows.values())))
    head, folder = ["set", *metrics], Path(folder)
    rounded = [[label, *(f"{row[metric]:.4f}" for metric in metrics)] for label, row in rows.items()]
    write(folder / "results.md", markdown_rows([head, *rounded]).encode())
    write(folder / "results.csv", csv_rows([head, *([label, *row.values()] for label, row in rows.items())]).encode())
