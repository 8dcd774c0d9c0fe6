"""Whether a step's numbers are finite, which all ranks learn alike."""
from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor


def find_nonfinite(losses: Mapping[str, Tensor], gradients: Iterable[Tensor], paths: Iterable[str]) -> list[str]:
    """Report which numbers of a step are not finite; every rank has to ask, and gets the same result.

    A device is waited for once, as long as all is well.

    Args:
        losses: this rank's, by name.
        gradients: those to be checked.
        paths: the images of this rank's batch.

    Returns:
        A text for each rank where a number is not finite: what it is, and the paths. Empty for a sound step.
    """
    finite = torch.stack([all_finite(losses.values()), all_finite(gradients).to(next(iter(losses.values())).device)])
    anywhere = (~finite).any().float()
    if dist.is_initialized():
        dist.all_reduce(anywhere)
    if not anywhere:
        return []
    report = None
    if not finite[0]:
        values = ", ".join(f"{name} {loss.item():g}" for name, loss in losses.items())
        report = f"the loss is not finite ({values}) on {list(paths)}"
    elif not finite[1]:
        report = f"the gradient is not finite on {list(paths)}"
    reports: list[str | None] = [report]
    if dist.is_initialized():
        reports = [None] * dist.get_world_size()
        dist.all_gather_object(reports, report)
    return [one for one in reports if one]


def all_finite(tensors: Iterable[Tensor]) -> Tensor:
    """Whether all numbers of all tensors are finite: a boolean tensor on their device."""
    flags = [torch.isfinite(tensor).all() for tensor in tensors]
    return torch.stack(flags).all() if flags else torch.tensor(True)
