"""Outputs of contiguous windows as images, which is what losses that look at more than a pixel take."""
from __future__ import annotations

import math
from collections.abc import Mapping
from os import path as osp
from typing import Any

from basicsr.archs.vgg_arch import VGG_PRETRAIN_PATH
from torch import Tensor

from liif_basicsr.hub.checkpoint import read_tensors
from liif_basicsr.utils.errors import LIIFError


def of_patches(opt: Mapping[str, Any]) -> bool:
    """Whether the samples of a training are windows (`datasets: train: sample: patch`)."""
    return (opt.get("datasets") or {}).get("train", {}).get("sample") == "patch"


def as_images(colours: Tensor) -> Tensor:
    """The colours of square windows, row by row, (B, p * p, 3), as (B, 3, p, p)."""
    side = math.isqrt(colours.shape[1])
    return colours.mT.unflatten(2, (side, side))


def check_perceptual(train: Mapping[str, Any], opt: Mapping[str, Any]) -> None:
    """Raise LIIFError if a perceptual loss would look at single pixels, or its VGG's weights are missing or damaged."""
    if not train["perceptual_opt"]:
        return
    if not of_patches(opt):
        raise LIIFError("train: perceptual_opt: looks at more than a pixel; set datasets: train: sample: patch for it")
    if not osp.isfile(VGG_PRETRAIN_PATH):
        raise LIIFError(
            f"train: perceptual_opt: the weights of VGG are not in {VGG_PRETRAIN_PATH}; "
            f"put https://download.pytorch.org/models/{osp.basename(VGG_PRETRAIN_PATH)} there"
        )
    read_tensors(VGG_PRETRAIN_PATH)  # BasicSR would run what code there is in it
