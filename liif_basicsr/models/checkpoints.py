"""Compare a checkpoint with the options, compare a training state with the run, and remove old checkpoints."""
from __future__ import annotations

import inspect
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor
from torch.optim import Optimizer

from liif_basicsr.archs.encoders import check_encoder
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub.checkpoint import plain
from liif_basicsr.models.checks import registered

NETWORK = re.compile(r"net_\w+_(\d+)\.pth")
# Network arguments that may differ from the checkpoint's. They change neither the meaning of a parameter nor the output
# at given coordinates.
FREE_ARGUMENTS = {"scale", "drop_path_rate", "use_checkpoint"}


# The network block of a checkpoint ---------------------------------------------------------------------------


def check_block(saved: Any, own: Mapping[str, Any], key: str, path: str, strict: bool) -> None:
    """Compare the network block stored in a checkpoint with the one in the options.

    Arguments that a block omits have their defaults. With `strict`, a difference is a LIIFError, except in
    `FREE_ARGUMENTS`. All other differences are logged as warnings.

    Args:
        saved: the block in the checkpoint, or anything else, which is ignored.
        key: name of the block, such as `network_g`.
        path: name of the checkpoint in messages.
    """
    if not isinstance(saved, Mapping):
        return
    for name, before, now in _differences(plain(saved), plain(own), registered(own["type"])):
        problem = f"{key}: {name}: {path} was trained with {before!r}, but the options have {now!r}"
        if strict and name.rpartition(": ")[2] not in FREE_ARGUMENTS:
            raise LIIFError(f"{problem}; set {name}: {'~' if before is None else before}")
        get_root_logger().warning(f"{problem}.")


def _differences(saved: Mapping[str, Any], own: Mapping[str, Any], cls: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (argument, saved value, own value) for each difference.

    An argument of a nested block is named like `encoder: num_block`.
    """
    if saved.get("type") != own.get("type"):
        yield "type", saved.get("type"), own.get("type")
        return
    defaults = {}
    if cls is not None:
        parameters = inspect.signature(cls).parameters.items()
        defaults = {name: plain(p.default) for name, p in parameters if p.default is not p.empty}
    for name in dict.fromkeys([*own, *saved]):
        before, now = saved.get(name, defaults.get(name)), own.get(name, defaults.get(name))
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            common = {"num_in_ch": own["num_in_ch"]} if name == "encoder" and "num_in_ch" in own else {}
            blocks = {**common, **before}, {**common, **now}
            nested = check_encoder(now) if name == "encoder" else registered(now.get("type"))
            yield from ((f"{name}: {inner}", *values) for inner, *values in _differences(*blocks, nested))
        elif before != now:
            yield name, before, now


# Training states ---------------------------------------------------------------------------------------------


def check_state(state: Mapping[str, Any], optimizers: Sequence[Optimizer], schedulers: Sequence[Any]) -> None:
    """Raise ValueError unless a training state fits these optimizers and schedulers.

    torch accepts a state that does not fit, and fails later or not at all.
    """
    for name, own in (("optimizers", optimizers), ("schedulers", schedulers)):
        if len(state[name]) != len(own):
            raise ValueError(f"the state has {len(state[name])} {name}, but the run has {len(own)}")
    for one, optimizer in zip(state["optimizers"], optimizers, strict=True):
        _check_optimizer(one, optimizer)
    for one, scheduler in zip(state["schedulers"], schedulers, strict=True):
        _check_form(one, scheduler.state_dict(), "scheduler")
    skipped = state.get("skipped_steps", 0)
    if not isinstance(skipped, int) or skipped < 0:
        raise ValueError(f"skipped_steps: expected an integer of at least 0, got {skipped!r}")
    best = {"better": "higher", "val": math.inf, "iter": 0}  # inf, because BasicSR's initial value is infinite
    results = state.get("best_metric_results", {})
    _check_form(results, {}, "best_metric_results")
    for label, metrics in results.items():
        _check_form(metrics, {}, f"best_metric_results: {label}")
        for metric, value in metrics.items():
            _check_form(value, best, f"best_metric_results: {label}: {metric}")


def _check_form(value: Any, own: Any, where: str) -> None:
    """Raise ValueError unless `value`, from a state, has the same type as `own`, the run's value.

    Nested values are checked, too. An entry of `own` may be missing from the state if it is None or False, or if its
    name starts with `_` (it is private to a version of torch).
    """
    fits = True
    if isinstance(own, Counter):  # milestones of a scheduler; the options may have changed them
        fits = isinstance(value, Mapping) and all(isinstance(k, int) for item in value.items() for k in item)
    elif isinstance(own, Mapping):
        fits = isinstance(value, Mapping)
        for key, part in own.items() if fits else ():
            if key in value:
                _check_form(value[key], part, f"{where}: {key}")
            elif part is not None and part is not False and not key.startswith("_"):
                raise ValueError(f"{where}: {key} is missing")
    elif isinstance(own, (list, tuple)):
        fits = isinstance(value, (list, tuple))
        for item in value if fits and own else ():
            _check_form(item, own[0], where)
    elif isinstance(own, bool) or own is None:
        fits = isinstance(value, (bool, type(None)))
    elif isinstance(own, (int, float)):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = is_number and (math.isfinite(value) or not math.isfinite(own))
    if not fits:
        raise ValueError(f"{where}: expected a value like {own!r}, got {type(value).__name__}")


def _check_optimizer(state: Any, optimizer: Optimizer) -> None:
    """Raise ValueError unless an optimizer's state, including the moments, fits `optimizer`."""
    own = optimizer.state_dict()
    _check_form(state, {"state": {}, "param_groups": own["param_groups"]}, "optimizer")
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for index, moments in state["state"].items():
        where = f"optimizer: moments of parameter {index}"
        if index not in range(len(params)) or not isinstance(moments, Mapping):
            raise ValueError(f"{where}: this network has no such parameter")
        if moments.keys() != next(iter(state["state"].values())).keys():
            raise ValueError(f"{where}: its entries differ from the first parameter's")
        for key, value in moments.items():
            if not (_is_step(value) if key == "step" else _is_moment(value, params[index])):
                raise ValueError(f"{where}: {key} does not fit the parameter")


def _is_step(value: Any) -> bool:
    value = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    return isinstance(value, (int, float)) and 0 <= value < float("inf")


def _is_moment(value: Any, param: Tensor) -> bool:
    if value is None:
        return True
    fits = isinstance(value, Tensor) and value.layout == torch.strided and value.is_floating_point()
    return fits and (value.dim() == 0 or value.shape == param.shape) and bool(torch.isfinite(value).all())


# Old files ---------------------------------------------------------------------------------------------------


def prune(models: Path, states: Path, current_iter: int, keep: int, is_milestone: Callable[[int], bool]) -> None:
    """Remove complete checkpoints (networks and training state), except the newest ones and the milestones.

    Networks without a training state are not removed, because someone may have kept them on purpose. Networks named
    `latest` and iterations after `current_iter`, which are from another run, are not removed either.

    Args:
        models, states: folders of the networks and of the training states.
        current_iter: iteration of the newest checkpoint, which has just been written.
        keep: number of newest checkpoints to keep, at least 1.
        is_milestone: returns whether the checkpoint of an iteration is always kept.
    """
    networks: dict[int, list[Path]] = defaultdict(list)
    for path in models.iterdir():
        if match := NETWORK.fullmatch(path.name):
            networks[int(match[1])].append(path)
    complete = sorted(k for k in networks if k <= current_iter and (states / f"{k}.state").is_file())
    for iteration in complete[:-keep]:
        if not is_milestone(iteration):
            # The state first: an interrupted removal must not leave a state without its network.
            _remove(states / f"{iteration}.state", *networks[iteration])


def remove_partial(folder: Path) -> None:
    """Remove temporary files left by a process that was killed while writing; see `liif_basicsr.files`."""
    _remove(*folder.glob(".*.part"))


def _remove(*paths: Path) -> None:
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:  # not a reason to end the run
        get_root_logger().warning(f"{path}: cannot be removed: {error.strerror}")
