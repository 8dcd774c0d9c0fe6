"""Select the trained parameters and their learning rates, and check whether losses and gradients are finite."""
from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from basicsr.models.lr_scheduler import MultiStepRestartLR
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from liif_basicsr.errors import LIIFError, suggest

# Entries of a scheduler's state that depend on the iteration, not on the options.
COUNTERS = {"last_epoch", "_step_count", "_last_lr"}
# Options of an optimizer that choose its kernels.
KERNELS = {"fused", "foreach", "capturable"}


def freeze(net: nn.Module, names: list[str]) -> None:
    """Exclude the modules `names` of a network from training.

    Raises:
        LIIFError: the network has no such module, or nothing is left to train.
    """
    modules = dict(net.named_modules())
    for name in names:
        if not name or name not in modules:
            known = [module for module in modules if module and module.count(".") < 2]
            raise LIIFError(f"train: freeze: the network has no module {name!r}{suggest(name, known)}")
        modules[name].requires_grad_(False)
    if not any(param.requires_grad for param in net.parameters()):
        raise LIIFError(f"train: freeze: freezing {names} leaves nothing to train; remove a name")


def split_encoder(optimizer: Optimizer, net: nn.Module, factor: float) -> None:
    """Move the encoder's parameters to a parameter group whose learning rate is multiplied by `factor`.

    Raises:
        LIIFError: the encoder has no trained parameters, or the rest of the network has none.
    """
    encoder = {id(param) for param in net.encoder.parameters()} if hasattr(net, "encoder") else set()
    group = optimizer.param_groups[0]
    own = [param for param in group["params"] if id(param) in encoder]
    if not own:
        raise LIIFError("train: optim_g: encoder_lr_mul: no encoder is trained; remove the option")
    group["params"] = [param for param in group["params"] if id(param) not in encoder]
    if not group["params"]:
        raise LIIFError("train: optim_g: encoder_lr_mul: only the encoder is trained; set lr instead")
    optimizer.add_param_group({"params": own, "lr": group["lr"] * factor})


def load_optimizer(optimizer: Optimizer, scheduler: LRScheduler, state: Mapping[str, Any], schedule: Any) -> list[str]:
    """Load the moments and step counts of a training state; hyperparameters come from the options.

    If the options are unchanged, the learning rate is taken from the state. Otherwise, and during the warm-up, it is
    computed from the options for the state's iteration.

    Args:
        optimizer, scheduler: built from the options.
        state, schedule: the saved states of the optimizer and the scheduler.

    Returns:
        The options that have changed, as texts like `weight_decay: 0.1 instead of 0`.
    """
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    # The kernels depend on the device, so the saved choice does not apply here.
    own_kernels = [{key: group[key] for key in KERNELS & group.keys()} for group in groups]
    pairs = zip(state["param_groups"], own_kernels, strict=True)
    state = {**state, "param_groups": [{**group, **kernels} for group, kernels in pairs]}
    own = scheduler.state_dict()
    known = {key: value for key, value in schedule.items() if key in own}
    changes = list(_changes({k: v for k, v in known.items() if k != "last_epoch" and not k.startswith("_")}, own))
    for before, group in zip(state["param_groups"], groups, strict=True):
        changes += _changes({k: v for k, v in before.items() if k in group and k not in ("lr", "params")}, group)
    optimizer.load_state_dict(state)
    if not changes:
        scheduler.load_state_dict(known)
        for group, lr in zip(optimizer.param_groups, learning_rates(scheduler), strict=True):
            if not math.isclose(group["lr"], lr):  # a rate of the warm-up, which may end here
                group["lr"] = lr
        return []
    scheduler.load_state_dict({key: value for key, value in known.items() if key in COUNTERS})
    for group, values, lr in zip(optimizer.param_groups, groups, learning_rates(scheduler), strict=True):
        group.update(values, lr=lr)
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]
    return list(dict.fromkeys(changes))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key, value in before.items():
        if _as_lists(value) != _as_lists(now[key]):
            yield f"{key}: {_as_lists(now[key])} instead of {_as_lists(value)}"


def _as_lists(value: Any) -> Any:
    """Convert tuples and mappings (the scheduler's `milestones`) to lists, because saving changes their types."""
    if isinstance(value, Mapping):
        return sorted(value.items())
    return list(value) if isinstance(value, tuple) else value


def learning_rates(scheduler: Any) -> list[float]:
    """Compute the learning rate of each parameter group at the scheduler's current step.

    BasicSR's `MultiStepRestartLR.get_lr` can only compute a rate from the rate of the previous step.
    """
    if not isinstance(scheduler, MultiStepRestartLR):
        return scheduler.get_lr()
    step = scheduler.last_epoch
    pairs = zip(scheduler.restarts, scheduler.restart_weights, strict=True)
    start, weight = max(((k, w) for k, w in pairs if k <= step), default=(0, 1))
    drops = sum(count for milestone, count in scheduler.milestones.items() if start < milestone <= step)
    return [lr * weight * scheduler.gamma**drops for lr in scheduler.base_lrs]


def set_fused(options: dict[str, Any], device: torch.device) -> None:
    """Use fused Adam or AdamW on a GPU unless the options set `fused`. One kernel then updates many parameters."""
    if _skips_steps(device) and options.get("type") in ("Adam", "AdamW"):
        options.setdefault("fused", True)


def skip_themselves(optimizers: Iterable[Optimizer]) -> bool:
    """Return whether all optimizers are fused and on a GPU. Their kernels then skip the step if `found_inf` is 1."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return all(group.get("fused") and _skips_steps(group["params"][0].device) for group in groups)


def _skips_steps(device: torch.device) -> bool:
    """Return whether the device is a GPU whose fused optimizers read `found_inf`."""
    return device.type not in ("cpu", "mps")


class StepCheck:
    """Checks whether a step's losses and gradients are finite. Every rank must create one; all have the same result.

    Args:
        iteration: number of the step.
        losses: this rank's losses by name.
        gradients: this rank's gradients.
        paths: paths of the images in this rank's batch.

    Attributes:
        found: scalar float32 tensor on the device: 1 if a loss or gradient of any rank is not finite, else 0.
    """

    def __init__(
        self, iteration: int, losses: Mapping[str, Tensor], gradients: list[Tensor], paths: Iterable[str]
    ) -> None:
        self.iteration, self.losses, self.paths = iteration, losses, paths
        values = [loss.float() for loss in losses.values()]
        self.found, one = (torch.full((), value, device=values[0].device) for value in (0.0, 1.0))
        # GradScaler's kernel checks all values in one pass. It also multiplies them, here by 1.
        torch._amp_foreach_non_finite_check_and_unscale_([*values, *gradients], self.found, one)
        self._found_here = self.found
        if dist.is_initialized():
            self.found = self.found.clone()
            dist.all_reduce(self.found, dist.ReduceOp.MAX)
        # On MPS, a non-blocking copy may still have its old value when it is read.
        self._copied = self.found.to("cpu", non_blocking=self.found.is_cuda)
        self._event = torch.cuda.Event() if self.found.is_cuda else None
        if self._event is not None:
            self._event.record()

    def reports(self) -> list[str]:
        """Return one text for each rank with a loss or gradient that is not finite.

        A text lists the rank's images, and its losses if one of them is not finite. This method waits for the step's
        backward pass.
        """
        if self._event is not None:
            self._event.synchronize()
        if not self._copied.item():
            return []
        values = {name: loss.item() for name, loss in self.losses.items()}
        report = f"the gradient is not finite on {list(self.paths)}" if self._found_here.item() else None
        if not all(map(math.isfinite, values.values())):
            listed = ", ".join(f"{name} {value:g}" for name, value in values.items())
            report = f"the loss is not finite ({listed}) on {list(self.paths)}"
        reports: list[str | None] = [report]
        if dist.is_initialized():
            reports = [None] * dist.get_world_size()
            dist.all_gather_object(reports, report)
        return [one for one in reports if one]
