"""Distillation: a loss to what another network, the teacher, gives at the same coordinates."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.config.options import check_block, suggest
from liif_basicsr.config.schema import TEACHER
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub.checkpoint import load


class Teacher:
    """A network, in evaluation mode and without gradients, that a training imitates.

    Args:
        path: a name or a file that `load` knows.
        weight: of the loss to its outputs, L1.
        device: where the training runs.
    """

    def __init__(self, path: str, weight: float, device: torch.device) -> None:
        self.net: nn.Module = load(path).to(device).requires_grad_(False)
        self.weight = weight

    @torch.no_grad()
    def __call__(self, lq: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """Its colours (B, Q, 3) at coordinates."""
        return self.net(lq, coord, cell)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """L1 between the training's colours and the teacher's, weighted."""
        return self.weight * F.l1_loss(output, target.float())


def make_teacher(block: Any, opt: Mapping[str, Any], device: torch.device) -> Teacher | None:
    """The teacher that `train: teacher` asks for, or None.

    Args:
        block: `{path, weight}`.
        opt: all options, for the dataset that it will be asked about.

    Raises:
        LIIFError: an option that does not exist, no such network, or a dataset without coordinates.
    """
    if block is None:
        return None
    settings = check_block(block, TEACHER, "train: teacher")
    if "sample_q" not in (opt.get("datasets") or {}).get("train", {}):
        kind = (opt.get("datasets") or {}).get("train", {}).get("type")
        raise LIIFError(f"train: teacher: is asked at coordinates, which a dataset of type {kind} does not give")
    try:
        return Teacher(settings["path"], settings["weight"], device)
    except LIIFError as error:
        raise LIIFError(f"train: teacher: path: {error}") from None


def freeze(net: nn.Module, names: list[str]) -> None:
    """Take parts of a network, named as its modules are, out of the training.

    Raises:
        LIIFError: the network has no such part, or nothing is left to train.
    """
    modules = dict(net.named_modules())
    for name in names:
        if not name or name not in modules:
            raise LIIFError(f"train: freeze: the network has no part {name!r}{suggest(name, _parts(net))}")
        modules[name].requires_grad_(False)
    if not any(param.requires_grad for param in net.parameters()):
        raise LIIFError(f"train: freeze: {names} leave nothing to train")


def _parts(net: nn.Module) -> list[str]:
    """Names of a network's parts and of theirs."""
    return [name for name, _ in net.named_modules() if name and name.count(".") < 2]


def split_encoder(optimizer: torch.optim.Optimizer, net: nn.Module, factor: float) -> None:
    """Move the encoder's parameters to a group of their own, whose learning rate is multiplied by `factor`.

    Raises:
        LIIFError: the network has no encoder, or it is not trained.
    """
    encoder = {id(param) for param in net.encoder.parameters()} if hasattr(net, "encoder") else set()
    group = optimizer.param_groups[0]
    own = [param for param in group["params"] if id(param) in encoder]
    if not own:
        raise LIIFError("train: optim_g: encoder_lr_mul: there is no encoder that is trained")
    group["params"] = [param for param in group["params"] if id(param) not in encoder]
    if not group["params"]:
        raise LIIFError("train: optim_g: encoder_lr_mul: only the encoder is trained; set lr instead")
    optimizer.add_param_group({"params": own, "lr": group["lr"] * factor})
