"""Checks of what an options file says to LIIFModel that go beyond its tables in `liif_basicsr.config.schema`."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import ARCH_REGISTRY, METRIC_REGISTRY

from liif_basicsr.archs import check_network
from liif_basicsr.config.options import Field, check_block, suggest
from liif_basicsr.devices import best_precision, bfloat16_is_fast
from liif_basicsr.errors import LIIFError


def check_network_block(block: Any, where: str = "network_g") -> None:
    """Raise LIIFError unless a block names an architecture of BasicSR's registry; ours with its arguments."""
    if not isinstance(block, Mapping):
        raise LIIFError(f"{where}: must be a block of options, not {block!r}")
    kind = block.get("type")
    # BasicSR looks for a name of its own with that ending, too.
    known = isinstance(kind, str) and (kind in ARCH_REGISTRY or f"{kind}_basicsr" in ARCH_REGISTRY)
    if not known:
        names = [name.removesuffix("_basicsr") for name in ARCH_REGISTRY.keys()]
        raise LIIFError(f"{where}: no architecture {kind!r}{suggest(kind, names)}")
    check_network(block)


def check_logger(block: Any, fields: Mapping[str, Field]) -> None:
    """Raise LIIFError unless `logger` holds its options, and those on old checkpoints go together."""
    values = check_block(block, fields, "logger")
    if values["keep_checkpoint_freq"] and not values["keep_checkpoints"]:
        raise LIIFError("logger: keep_checkpoint_freq: only works together with keep_checkpoints, which is missing")


def check_metrics(metrics: Any) -> None:
    """Raise LIIFError unless `val: metrics` is nothing, or blocks that each name a metric of BasicSR's registry."""
    if metrics is not None and not isinstance(metrics, Mapping):
        raise LIIFError(f"val: metrics: must be a block of metrics, not {metrics!r}")
    for name, metric in (metrics or {}).items():
        kind = metric.get("type") if isinstance(metric, Mapping) else metric
        if not isinstance(metric, Mapping) or not isinstance(kind, str) or kind not in METRIC_REGISTRY:
            raise LIIFError(f"val: metrics: {name}: no metric {kind!r}{suggest(kind, METRIC_REGISTRY.keys())}")


def check_schedule(train: Mapping[str, Any]) -> None:
    """Raise LIIFError for a number that YAML takes for text, and for a schedule that ends before the training."""
    for name in ("optim_g", "optim_d", "scheduler"):
        values = train[name] if isinstance(train.get(name), Mapping) else {}
        for key in ("lr", "weight_decay", "encoder_lr_mul", "eta_min", "gamma"):
            if isinstance(values.get(key), str):
                problem = f"train: {name}: {key}: must be a number, not the text {values[key]!r}"
                raise LIIFError(f"{problem}; YAML reads 1e-4 as text unless !!float stands before it")
        periods = values.get("periods")
        if periods is None:
            continue
        if not isinstance(periods, list) or not all(isinstance(n, (int, float)) for n in periods):
            raise LIIFError(f"train: {name}: periods: must be a list of numbers of iterations, not {periods!r}")
        if sum(periods) < train["total_iter"] - 1:
            raise LIIFError(
                f"train: {name}: periods: {periods} end before the training does; total_iter is {train['total_iter']}"
            )


def precision_of(amp: str | None, device: torch.device, key: str) -> str:
    """The precision that an option `amp`, called `key`, asks for; a warning in the log if the processor is slow at it.

    Nothing is float32, `auto` is bfloat16 where the processor has instructions for it, else float32.
    """
    if amp == "auto":
        precision = best_precision(device, 8)
        get_root_logger().info(f"{key}: auto is {precision} here.")
        return precision
    if amp == "bfloat16" and not bfloat16_is_fast(device):
        get_root_logger().warning(
            f"{key}: this processor has no instructions for bfloat16, which is slower than float32 here, on a CPU many "
            "times; take auto, or leave it out"
        )
    return amp or "float32"
