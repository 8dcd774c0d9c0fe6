"""Outputs of contiguous windows as images, which is what losses that look at more than a pixel take."""
from __future__ import annotations

import math
from collections.abc import Mapping
from os import path as osp
from typing import Any

from basicsr.archs.vgg_arch import VGG_PRETRAIN_PATH
from torch import Tensor

from liif_basicsr.errors import LIIFError
from liif_basicsr.hub.checkpoint import read_tensors
from liif_basicsr.losses.grid_loss import SMALLEST


def of_patches(opt: Mapping[str, Any]) -> bool:
    """Whether the samples of a training are windows (`datasets: train: sample: patch`)."""
    return (opt.get("datasets") or {}).get("train", {}).get("sample") == "patch"


def as_images(colours: Tensor) -> Tensor:
    """The colours of square windows, row by row, (B, p * p, 3), as (B, 3, p, p)."""
    side = math.isqrt(colours.shape[1])
    return colours.mT.unflatten(2, (side, side))


def window_side(opt: Mapping[str, Any]) -> int:
    """Height and width of the windows that a training draws."""
    return math.isqrt(opt["datasets"]["train"]["sample_q"])


def check_window_losses(train: Mapping[str, Any], opt: Mapping[str, Any]) -> None:
    """Raise LIIFError if a loss on windows would see single pixels or too few, or a VGG's weights are missing."""
    asked = [name for name in ("perceptual_opt", "texture_opt", "grid_weight") if train[name]]
    if asked and not of_patches(opt):
        raise LIIFError(f"train: {asked[0]}: looks at more than a pixel; set datasets: train: sample: patch for it")
    if train["grid_weight"] and window_side(opt) < SMALLEST:
        raise LIIFError(f"train: grid_weight: needs windows of {SMALLEST}x{SMALLEST}: sample_q: {SMALLEST**2} or more")
    if train["perceptual_opt"]:
        _check_vgg()


def _check_vgg() -> None:
    if not osp.isfile(VGG_PRETRAIN_PATH):
        raise LIIFError(
            f"train: perceptual_opt: the weights of VGG are not in {VGG_PRETRAIN_PATH}; "
            f"put https://download.pytorch.org/models/{osp.basename(VGG_PRETRAIN_PATH)} there"
        )
    read_tensors(VGG_PRETRAIN_PATH)  # BasicSR would run what code there is in it
