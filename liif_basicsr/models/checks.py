"""Check a model's options for errors that the types in `liif_basicsr.config` cannot detect."""
from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import ARCH_REGISTRY, METRIC_REGISTRY

from liif_basicsr.archs import check_network
from liif_basicsr.archs.registry import ARCHS
from liif_basicsr.config.base import validate
from liif_basicsr.config.training import Logger
from liif_basicsr.devices import best_precision, bfloat16_is_fast, check_precision
from liif_basicsr.errors import LIIFError, suggest
from liif_basicsr.registration import ENTRIES

# Metrics of BasicSR for which lower is better. BasicSR assumes by default that higher is better.
LOWER_IS_BETTER = {"calculate_niqe"}


def registered(name: Any) -> Any:
    """Return the class that BasicSR builds for the `type` of a network, or None if there is none."""
    known = dict(iter(ARCH_REGISTRY))
    # BasicSR registers some of its architectures with this suffix, but finds them without it.
    return known.get(str(name)) or known.get(f"{name}_basicsr")


def check_network_block(block: Any, where: str = "network_g") -> None:
    """Raise LIIFError unless a block's `type` is registered in BasicSR. For the plugin's types, check the arguments."""
    if not isinstance(block, Mapping):
        raise LIIFError(f"{where}: expected a block of options, got {block!r}")
    kind = block.get("type")
    if registered(kind) is None:
        names = [name.removesuffix("_basicsr") for name in ARCH_REGISTRY.keys()]
        raise LIIFError(f"{where}: unknown architecture {kind!r}{suggest(kind, names)}")
    check_network(block)


def check_channels(opt: Mapping[str, Any]) -> None:
    """Raise LIIFError unless a network of the plugin takes and returns as many channels as the datasets specify."""
    network = opt["network_g"]
    if network["type"] not in ARCHS:
        return
    for phase, block in (opt.get("datasets") or {}).items():
        if block.get("type") not in ENTRIES["DATASET_REGISTRY"]:
            continue
        channels = block.get("channels", 3)
        for key in ("num_in_ch", "num_out_ch"):
            if network.get(key, 3) != channels:
                raise LIIFError(
                    f"network_g: {key}: is {network.get(key, 3)}, but datasets: {phase}: channels is {channels}; "
                    "set both to the images' number of channels"
                )


def check_value_range(saved: Any, opt: Mapping[str, Any], path: str) -> None:
    """Log a warning for each dataset whose `value_range` differs from the checkpoint's.

    When a run is resumed, a different `value_range` of the training set is a LIIFError.

    Args:
        saved: the checkpoint's value range; None disables the check.
        path: name of the checkpoint in messages.
    """
    for phase, block in (opt.get("datasets") or {}).items():
        own = block.get("value_range")
        if saved is None or (own is not None and list(own) == list(saved)):
            continue
        problem = f"datasets: {phase}: value_range: {path} was trained with {list(saved)}, but the options have {own}"
        if opt["path"].get("resume_state") and phase == "train":
            raise LIIFError(f"{problem}; set value_range: {list(saved)}")
        get_root_logger().warning(f"{problem}.")


def check_logger(opt: Mapping[str, Any]) -> None:
    """Raise LIIFError unless the options in `logger` are valid together and the packages they need are installed."""
    logger = validate(Logger, opt["logger"], "logger")
    if "debug" in opt["name"]:  # BasicSR then uses neither TensorBoard nor wandb
        return
    if logger.use_tb_logger and find_spec("tensorboard") is None:
        raise LIIFError("logger: use_tb_logger: tensorboard is not installed; install it, or set use_tb_logger: false")
    if logger.wandb is not None and logger.wandb.project is not None:
        if not logger.use_tb_logger:
            raise LIIFError("logger: wandb: needs TensorBoard; set use_tb_logger: true")
        if find_spec("wandb") is None:
            raise LIIFError("logger: wandb: wandb is not installed; install it, or remove the block")


def check_metrics(metrics: Mapping[str, Any] | None, is_train: bool = False, channels: int = 3) -> None:
    """Raise LIIFError if a metric does not exist, or has an option that its function does not take.

    Args:
        metrics: the block `val: metrics`.
        is_train: also check `better`, which determines the best values that BasicSR keeps in training.
        channels: number of channels of the images.
    """
    for name, metric in (metrics or {}).items():
        where = f"val: metrics: {name}"
        kind = metric["type"]
        if kind not in METRIC_REGISTRY:
            raise LIIFError(f"{where}: unknown metric {kind!r}{suggest(kind, METRIC_REGISTRY.keys())}")
        own = {key: value for key, value in metric.items() if key not in ("type", "better")}
        band = own.get("band")
        if isinstance(band, int) and band > channels:
            raise LIIFError(f"{where}: band: is {band}, but the images have {channels} bands; use a lower number")
        if kind == "calculate_niqe" and channels not in (1, 3):
            raise LIIFError(f"{where}: {kind} needs gray or RGB images, but these have {channels} channels; remove the "
                            "metric")  # fmt: skip
        _check_metric_options(METRIC_REGISTRY.get(kind), own, where)
        if is_train and kind in LOWER_IS_BETTER and metric.get("better", "higher") != "lower":
            raise LIIFError(f"{where}: better: lower values of {kind} are better; set better: lower")


def _check_metric_options(function: Any, given: Mapping[str, Any], where: str) -> None:
    parameters = inspect.signature(function).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    names = [name for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    names = [name for name in names if name not in ("img", "img2")]
    names += ["per_band"] if "band" in names else []
    for key in given:
        # A function with **kwargs may read further options from them; BasicSR's functions do not.
        hidden = takes_any and not function.__module__.startswith(("basicsr.", "liif_basicsr."))
        if key not in names and not (hidden and not difflib.get_close_matches(key, names, n=1)):
            raise LIIFError(f"{where}: {function.__name__} has no argument {key!r}{suggest(key, names)}")


def precision_of(amp: str | None, device: torch.device, key: str) -> str:
    """Return the precision that `amp`, the value of the option `key`, selects.

    None selects float32. `auto` selects bfloat16 if the processor has instructions for it, else float32. A warning is
    logged if the processor is slow in the precision.

    Raises:
        LIIFError: the GPU does not support the precision.
    """
    if amp == "auto":
        precision = best_precision(device, 8)
        get_root_logger().info(f"{key}: auto selects {precision} on this device.")
        return precision
    check_precision(amp or "float32", device, f"{key}: bfloat16", "auto or float16")
    if amp == "bfloat16" and not bfloat16_is_fast(device):
        get_root_logger().warning(
            f"{key}: this processor has no instructions for bfloat16, so bfloat16 is many times slower than float32; "
            "use auto, or remove the option"
        )
    return amp or "float32"


def train_pipeline_variables() -> Mapping[str, Any]:
    """Return the variables of the `train_pipeline` that is running, or an empty mapping.

    BasicSR does not pass them to the model, so this function reads them from the call stack.
    """
    frame: Any = sys._getframe()
    while frame is not None and frame.f_code.co_name != "train_pipeline":
        frame = frame.f_back
    return {} if frame is None else frame.f_locals


def check_iterations() -> None:
    """Raise LIIFError if the `train_pipeline` that builds the model would end before `total_iter`.

    BasicSR counts the last, partial batch of an epoch as an iteration but drops it. `python -m liif_basicsr.train`
    fills the last batch.
    """
    variables, names = train_pipeline_variables(), ("train_loader", "total_epochs", "total_iters")
    if any(variables.get(name) is None for name in names):
        return
    loader, epochs, iterations = (variables[name] for name in names)
    resumed = variables.get("resume_state") or {"epoch": 0, "iter": 0}
    possible = resumed["iter"] + (epochs + 1 - resumed["epoch"]) * len(loader)
    if possible < iterations:
        batch = loader.batch_size
        raise LIIFError(
            f"datasets: train: training would end after {possible} of {iterations} iterations, because BasicSR "
            f"drops the last, partial batch of each epoch ({len(loader.sampler)} samples in batches of {batch}); "
            "use `python -m liif_basicsr.train`, or change batch_size_per_gpu or dataset_enlarge_ratio"
        )
