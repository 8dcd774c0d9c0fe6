"""Build the losses of a training from its options."""
from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from inspect import signature
from os import path as osp
from typing import Any, NamedTuple

import torch
from basicsr.archs.vgg_arch import VGG_PRETRAIN_PATH
from basicsr.losses import build_loss
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from liif_basicsr.archs import find_arch
from liif_basicsr.config.base import check_arguments
from liif_basicsr.errors import LIIFError, errors_in, suggest
from liif_basicsr.hub.checkpoint import read_tensors

# Names in the log that BasicSR uses; the loss in `<name>_opt` is `l_<name>` otherwise.
LOG_NAMES = {"pixel_opt": ("l_pix",), "perceptual_opt": ("l_percep", "l_style")}
# Options of BasicSR's other models that are named like a loss.
OTHER_OPTIONS = {"gan_opt", "ldl_opt"}
# Losses of BasicSR that need images.
ON_IMAGES = {"PerceptualLoss"}


class Loss(NamedTuple):
    """One loss of a training.

    Attributes:
        names: names in the log, one for each value that the module returns.
        module: returns a scalar, or a tuple of scalars and None.
        inputs: names of its arguments: `output`, `gt`, `teacher`, `gradient`, or another entry of the batch.
    """

    names: tuple[str, ...]
    module: nn.Module
    inputs: tuple[str, ...]


class TeacherLoss(nn.Module):
    """Weighted L1 distance to a teacher's output."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.weight * F.l1_loss(output, target)


def loss_options(train: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the losses of a `train` block: its options `<name>_opt`, without the `known` options of other kinds."""
    others = OTHER_OPTIONS | {key for key in known if key not in LOG_NAMES}
    return {key: block for key, block in train.items() if key.endswith("_opt") and key not in others}


def as_images(colors: Tensor) -> Tensor:
    """Reshape the pixels of square windows, (B, p * p, C) row by row, to images (B, C, p, p)."""
    side = math.isqrt(colors.shape[1])
    return colors.mT.reshape(len(colors), -1, side, side).contiguous()


def samples_windows(opt: Mapping[str, Any]) -> bool:
    """Whether training samples are windows of an image (`datasets: train: sample: patch`), not single pixels."""
    return (opt.get("datasets") or {}).get("train", {}).get("sample") == "patch"


def check_losses(losses: Mapping[str, Any], opt: Mapping[str, Any]) -> None:
    """Check the blocks of losses before anything is built.

    Args:
        losses: from `loss_options`.
        opt: all options.

    Raises:
        LIIFError: an unknown type or argument, a loss on images while samples are single pixels, or missing weights
            of VGG.
    """
    for key, block in losses.items():
        if block is None:
            continue
        kind = block["type"]
        if kind not in LOSS_REGISTRY:
            raise LIIFError(f"train: {key}: type: unknown loss {kind!r}{suggest(kind, LOSS_REGISTRY.keys())}")
        given = {name: value for name, value in block.items() if name != "type"}
        check_arguments(LOSS_REGISTRY.get(kind), given, f"train: {key}")
        needs_images = kind in ON_IMAGES or getattr(LOSS_REGISTRY.get(kind), "on_images", False)
        if needs_images and not samples_windows(opt):
            raise LIIFError(f"train: {key}: {kind} compares images; set datasets: train: sample: patch")
        if "gradient" in getattr(LOSS_REGISTRY.get(kind), "inputs", ()):
            _check_gradient(f"train: {key}: {kind}", opt)
        if kind == "PerceptualLoss":
            _check_vgg(key)


def _check_gradient(where: str, opt: Mapping[str, Any]) -> None:
    """Raise LIIFError unless the network returns gradients, see `Thera.forward`, and the dataset has coordinates."""
    network, dataset = opt["network_g"]["type"], (opt.get("datasets") or {}).get("train", {})
    cls = find_arch(network)
    if cls is None or "gradient" not in signature(cls.forward).parameters:
        raise LIIFError(f"{where} needs a network that returns gradients, such as Thera, and network_g is {network}")
    if "sample_q" not in dataset:
        raise LIIFError(f"{where} needs coordinates, which a dataset of type {dataset.get('type')} lacks")


def _check_vgg(key: str) -> None:
    if not osp.isfile(VGG_PRETRAIN_PATH):
        raise LIIFError(
            f"train: {key}: no weights of VGG in {VGG_PRETRAIN_PATH}; "
            f"put https://download.pytorch.org/models/{osp.basename(VGG_PRETRAIN_PATH)} there"
        )
    read_tensors(VGG_PRETRAIN_PATH)  # BasicSR would run code in it


def build_losses(blocks: Mapping[str, Any], opt: Mapping[str, Any], device: torch.device) -> list[Loss]:
    """Build the losses of a training, in the order of the options, and try each on a batch of zeros.

    A loss of this package or of another project is called with `output` and `gt`: images (B, C, p, p) if samples are
    windows, else (B, Q, C), in [0, 1]. Two class attributes change that: `on_images = True` refuses single pixels, and
    `inputs` names the arguments. Among them may be `gradient`, (B, Q, C, 2), which Thera returns.

    Args:
        blocks: from `loss_options`; `teacher` may be among them.
        opt: all options.
        device: where the training runs.

    Raises:
        LIIFError: an argument is invalid, a loss cannot be computed at this size of samples or does not return a
            scalar, or the list is empty.
    """
    losses = []
    for key, block in blocks.items():
        if key == "teacher" and block:
            losses.append(Loss(("l_teacher",), TeacherLoss(block["weight"]), ("output", "teacher")))
        elif block:
            with errors_in(f"train: {key}", RuntimeError):
                module = build_loss(block).to(device)
                inputs = getattr(module, "inputs", ("output", "gt"))
                count = _try(module, inputs, opt, device)
            name = f"l_{key.removesuffix('_opt')}"
            names = (name,) if count == 1 else tuple(f"{name}_{k + 1}" for k in range(count))
            losses.append(Loss(LOG_NAMES.get(key, names), module, inputs))
    if not losses:
        raise LIIFError("train: expected at least one loss; set pixel_opt, for example")
    return losses


def _try(module: nn.Module, inputs: tuple[str, ...], opt: Mapping[str, Any], device: torch.device) -> int:
    """Call a copy of a loss with zeros of this training's shapes, and return the number of its values.

    Raises:
        ValueError: a value is not a scalar. Errors of the loss itself pass through.
    """
    channels = opt["network_g"].get("num_out_ch", 3)
    samples = (opt.get("datasets") or {}).get("train", {})
    zeros = torch.zeros(2, samples.get("sample_q", 1), channels, device=device)
    images = as_images(zeros) if samples_windows(opt) else zeros
    lq = torch.zeros(2, opt["network_g"].get("num_in_ch", 3), 8, 8, device=device)
    batch = {"output": images, "gt": images, "teacher": images, "gradient": torch.stack([zeros, zeros], dim=-1),
             "lq": lq, "cell": torch.full((2, 1, 2), 0.1)}  # fmt: skip
    values = deepcopy(module)(*(batch[name].to(device) for name in inputs))
    values = values if isinstance(values, tuple) else (values,)
    for value in values:
        if value is not None and (not isinstance(value, Tensor) or value.dim()):
            shape = tuple(value.shape) if isinstance(value, Tensor) else value
            raise ValueError(f"expected a loss that returns one number, got {shape}; reduction must be mean or sum")
    return len(values)
