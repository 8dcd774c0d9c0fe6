"""Whether a step's numbers are finite, which all ranks find alike."""
from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor


def find_bad(losses: Mapping[str, Tensor], gradients: Iterable[Tensor], paths: Iterable[str]) -> list[str]:
    """Tell which numbers of a step are not finite; every rank has to ask, and gets the same answer.

    Args:
        losses: this rank's, by name.
        gradients: those to be looked at.
        paths: the pictures of this rank's batch.

    Returns:
        A text for each rank where a number is not finite: what it is, and the paths. Empty for a sound step.
    """
    told = None
    if not are_finite(losses.values()):
        values = ", ".join(f"{name} {loss.item():g}" for name, loss in losses.items())
        told = f"the loss is not finite ({values}) on {list(paths)}"
    elif not are_finite(gradients):
        told = f"the gradient is not finite on {list(paths)}"
    if not dist.is_initialized():
        return [told] if told else []
    bad = next(iter(losses.values())).new_tensor(told is not None, dtype=torch.float32)
    dist.all_reduce(bad)
    if not bad:
        return []
    answers: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(answers, told)
    return [answer for answer in answers if answer]


def are_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers of all tensors are finite; a GPU is waited for once."""
    flags = [torch.isfinite(tensor).all() for tensor in tensors]
    return not flags or bool(torch.stack(flags).all())
