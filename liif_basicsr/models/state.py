"""Checks that a training state fits this run: torch loads anything, and fails later or never."""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from liif_basicsr.config.checks import integer


def check_form(value: Any, own: Any, where: str) -> None:
    """Raise ValueError unless a value of a state has the form of the run's own.

    What is switched off, or private to a version of torch, may be missing.
    """
    fits = True
    if isinstance(own, Counter):  # a scheduler's milestones, which a person may have changed
        fits = isinstance(value, Mapping) and all(isinstance(k, int) for item in value.items() for k in item)
    elif isinstance(own, Mapping):
        fits = isinstance(value, Mapping)
        for key, part in own.items() if fits else ():
            if key in value:
                check_form(value[key], part, f"{where}: {key}")
            elif part is not None and part is not False and not key.startswith("_"):
                raise ValueError(f"{where}: {key} is missing")
    elif isinstance(own, (list, tuple)):
        fits = isinstance(value, (list, tuple))
        for item in value if fits and own else ():
            check_form(item, own[0], where)
    elif isinstance(own, bool) or own is None:
        fits = isinstance(value, (bool, type(None)))
    elif isinstance(own, (int, float)):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = is_number and (math.isfinite(value) or not math.isfinite(own))
    if not fits:
        raise ValueError(f"{where}: is not of the kind that it must be")


def check_optimizer(state: Any, optimizer: Optimizer) -> None:
    """Raise ValueError unless a state of an optimizer can be one of `optimizer`, with its moments."""
    own = optimizer.state_dict()
    check_form(state, {"state": {}, "param_groups": own["param_groups"]}, "optimizer")
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for index, moments in state["state"].items():
        where = f"optimizer: moments of parameter {index}"
        if index not in range(len(params)) or not isinstance(moments, Mapping):
            raise ValueError(f"{where}: belong to no parameter of this network")
        if moments.keys() != next(iter(state["state"].values())).keys():
            raise ValueError(f"{where}: are not those of the others")
        for key, value in moments.items():
            if not (_is_step(value) if key == "step" else _is_moment(value, params[index])):
                raise ValueError(f"{where}: {key} is not what it must be")


def _is_step(value: Any) -> bool:
    value = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    return isinstance(value, (int, float)) and 0 <= value < float("inf")


def _is_moment(value: Any, param: Tensor) -> bool:
    if value is None:
        return True
    fits = isinstance(value, Tensor) and value.layout == torch.strided and value.is_floating_point()
    return fits and (value.dim() == 0 or value.shape == param.shape) and bool(torch.isfinite(value).all())


def check_state(state: Mapping[str, Any], optimizers: Sequence[Optimizer], schedulers: Sequence[Any]) -> None:
    """Raise ValueError unless a training state can be one of these optimizers and schedulers."""
    for name, own in (("optimizers", optimizers), ("schedulers", schedulers)):
        if len(state[name]) != len(own):
            raise ValueError(f"it has {len(state[name])} {name}, the run has {len(own)}")
    for one, optimizer in zip(state["optimizers"], optimizers, strict=True):
        check_optimizer(one, optimizer)
    for one, scheduler in zip(state["schedulers"], schedulers, strict=True):
        check_form(one, scheduler.state_dict(), "scheduler")
    integer(0)(state.get("skipped_steps", 0))
    best = {"better": "higher", "val": math.inf, "iter": 0}  # BasicSR begins with an infinite one
    results = state.get("best_metric_results", {})
    check_form(results, {}, "best_metric_results")
    for label, metrics in results.items():
        check_form(metrics, {}, f"best_metric_results: {label}")
        for metric, value in metrics.items():
            check_form(value, best, f"best_metric_results: {label}: {metric}")
