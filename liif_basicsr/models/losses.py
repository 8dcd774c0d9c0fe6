"""Build the losses of a run from its options."""
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

from liif_basicsr.archs import find_arch
from liif_basicsr.config.base import check_arguments
from liif_basicsr.config.training import LOSSES_OF_OTHER_MODELS
from liif_basicsr.errors import LIIFError, errors_in, suggest
from liif_basicsr.hub.checkpoint import read_tensors

# Losses that are logged under BasicSR's names. Any other loss, `<name>_opt`, is logged as `l_<name>`.
LOG_NAMES = {"pixel_opt": ("l_pix",), "perceptual_opt": ("l_percep", "l_style")}


class Loss(NamedTuple):
    """A loss with its names in the log and its inputs.

    Attributes:
        names: names in the log, one for each value that the module returns.
        module: computes the loss; returns a scalar, or a tuple of scalars and None.
        inputs: names of the module's arguments: `output`, `gt`, `teacher`, another entry of the batch, or `gradient`
            (B, Q, C, 2), which only some networks return, such as Thera.
    """

    names: tuple[str, ...]
    module: nn.Module
    inputs: tuple[str, ...]


def loss_options(train: Mapping[str, Any]) -> dict[str, Any]:
    """Return the losses in a `train` block: the options `<name>_opt` with their blocks."""
    return {key: block for key, block in train.items() if key.endswith("_opt") and key not in LOSSES_OF_OTHER_MODELS}


def as_images(colors: Tensor) -> Tensor:
    """Reshape the pixels of square windows, listed row by row (B, p * p, C), to images (B, C, p, p)."""
    side = math.isqrt(colors.shape[1])
    return colors.mT.reshape(len(colors), -1, side, side).contiguous()


def samples_windows(opt: Mapping[str, Any]) -> bool:
    """Return whether training samples are windows of an image (`datasets: train: sample: patch`), not single pixels."""
    return (opt.get("datasets") or {}).get("train", {}).get("sample") == "patch"


def check_losses(opt: Mapping[str, Any]) -> None:
    """Check the options of the losses before anything is built.

    Raises:
        LIIFError: a type or argument is unknown, a loss needs images but samples are single pixels, or the weights of
            VGG are missing or damaged.
    """
    for key, block in loss_options(opt["train"]).items():
        if block is None:
            continue
        kind = block["type"]
        if kind not in LOSS_REGISTRY:
            raise LIIFError(f"train: {key}: type: unknown loss {kind!r}{suggest(kind, LOSS_REGISTRY.keys())}")
        loss, uses_vgg = LOSS_REGISTRY.get(kind), kind == "PerceptualLoss"
        check_arguments(loss, {name: value for name, value in block.items() if name != "type"}, f"train: {key}")
        if (uses_vgg or getattr(loss, "on_images", False)) and not samples_windows(opt):
            raise LIIFError(f"train: {key}: {kind} compares images, but the samples are single pixels; set datasets: "
                            "train: sample: patch")  # fmt: skip
        if "gradient" in getattr(loss, "inputs", ()):
            _check_gradient(f"train: {key}: {kind}", opt)
        if uses_vgg:
            _check_vgg(key)


def _check_gradient(where: str, opt: Mapping[str, Any]) -> None:
    """Raise LIIFError unless the network returns gradients, see `Thera.forward`, and the dataset has coordinates."""
    network = opt["network_g"]["type"]
    cls = find_arch(network)
    if cls is None or "gradient" not in signature(cls.forward).parameters:
        raise LIIFError(f"{where} needs a network that returns gradients, but network_g is {network}; use Thera, or "
                        "remove the loss")  # fmt: skip
    check_coordinates(where, opt)


def check_coordinates(where: str, opt: Mapping[str, Any]) -> None:
    """Raise LIIFError unless the training set returns coordinates, which `where` needs."""
    dataset = (opt.get("datasets") or {}).get("train", {})
    if "sample_q" not in dataset:
        raise LIIFError(f"{where} needs coordinates, but a dataset of type {dataset.get('type')} does not return them; "
                        "use ArbitraryScaleImageDataset or ArbitraryScalePairedDataset")  # fmt: skip


def _check_vgg(key: str) -> None:
    if not osp.isfile(VGG_PRETRAIN_PATH):
        raise LIIFError(
            f"train: {key}: the weights of VGG are missing at {VGG_PRETRAIN_PATH}; "
            f"download https://download.pytorch.org/models/{osp.basename(VGG_PRETRAIN_PATH)} to this path"
        )
    read_tensors(VGG_PRETRAIN_PATH)  # refuses code in the file, which BasicSR would run


def build_losses(blocks: Mapping[str, Any], opt: Mapping[str, Any], device: torch.device) -> list[Loss]:
    """Build the losses in the order of the options, and call each once on a batch of zeros.

    A loss may also come from another project. See `liif_basicsr.losses` for what it receives and returns.

    Args:
        blocks: the result of `loss_options`, and optionally the block `teacher`.
        opt: all options.
        device: device on which the losses are computed.

    Raises:
        LIIFError: an argument is invalid, a loss fails on samples of the configured size or does not return a scalar,
            or no loss is set.
    """
    losses = []
    for key, block in blocks.items():
        if key == "teacher" and block:
            module = build_loss({"type": "L1Loss", "loss_weight": block["weight"]})
            losses.append(Loss(("l_teacher",), module, ("output", "teacher")))
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
    """Call a copy of a loss on zeros with the shapes of a training batch, and return how many values it returns.

    Raises:
        ValueError: a value is not a scalar. Errors raised by the loss itself propagate.
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
            raise ValueError(f"expected a loss that returns one number, got {shape}; set reduction to mean or sum")
    return len(values)
