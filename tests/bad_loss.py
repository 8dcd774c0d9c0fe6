"""A training with a loss that is sometimes not finite."""
import json
import os

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from faultsuite.processes import train


@LOSS_REGISTRY.register()
class BadLoss(torch.nn.Module):
    """BasicSR's L1Loss of weight 2, with nan or inf added at some steps.

    The environment variable BAD_STEPS lists them as [rank, step, added value]. Gradients stay finite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        rank = int(os.environ.get("RANK", 0))
        self.bad = {step: float(value) for where, step, value in json.loads(os.environ["BAD_STEPS"]) if where == rank}

    def forward(self, output: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
        self.step += 1
        return 2 * (output - gt).abs().mean() + self.bad.get(self.step, 0)


def train_badly(*args: str) -> int:
    """Train. Importing this module registers BadLoss."""
    return train(*args)
