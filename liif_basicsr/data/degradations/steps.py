"""The steps of a degradation, based on BasicSR's functions: blur, resizing, noise and JPEG.

Images are (1, 3, H, W) float32, RGB in [0, 1]. Random numbers are drawn in the same order as in BasicSR's
RealESRGANDataset and RealESRGANModel. `end` selects the round: it is the suffix of the round's option names, '' for the
first round and '2' for the second.
"""
from __future__ import annotations

import math
import random
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from basicsr.data.degradations import (
    circular_lowpass_kernel,
    random_add_gaussian_noise_pt,
    random_add_poisson_noise_pt,
    random_mixed_kernels,
)
from basicsr.utils.diffjpeg import DiffJPEG
from torch import Tensor

from liif_basicsr.config.degradations import SMALLEST_KERNEL
from liif_basicsr.errors import LIIFError

MODES = ["area", "bilinear", "bicubic"]
# Smaller kernels cannot represent a sinc filter with the lowest cutoff frequencies.
LARGE_KERNEL = 13
# Side of the final sinc filter.
SINC_SIZE = 21


def check_kernels(settings: Mapping[str, Any], end: str, where: str) -> None:
    """Raise unless a round has one probability per kernel."""
    names, probs = len(settings[f"kernel_list{end}"]), len(settings[f"kernel_prob{end}"])
    if names != probs:
        raise LIIFError(f"{where}: kernel_prob{end}: has {probs} numbers, but kernel_list{end} has {names} kernels; "
                        "write one number for each kernel")  # fmt: skip


def draw_kernel(settings: Mapping[str, Any], end: str) -> Tensor:
    """Draw the blur kernel (1, k, k) of a round."""
    largest = settings[f"blur_kernel_size{end}"]
    size = random.choice(range(SMALLEST_KERNEL, largest + 1, 2))
    if np.random.uniform() < settings[f"sinc_prob{end}"]:
        omega = np.random.uniform(np.pi / 3 if size < LARGE_KERNEL else np.pi / 5, np.pi)
        kernel = circular_lowpass_kernel(omega, size, pad_to=False)
    else:
        sigma = settings[f"blur_sigma{end}"]
        names, probs = settings[f"kernel_list{end}"], settings[f"kernel_prob{end}"]
        betas = settings[f"betag_range{end}"], settings[f"betap_range{end}"]
        kernel = random_mixed_kernels(names, probs, size, sigma, sigma, [-math.pi, math.pi], *betas, noise_range=None)
    return torch.FloatTensor(np.pad(kernel, (largest - size) // 2))[None]


def draw_sinc(prob: float) -> Tensor | None:
    """Draw the final sinc filter (1, k, k), or return None with probability 1 - `prob`."""
    if np.random.uniform() >= prob:
        return None
    size = random.choice(range(SMALLEST_KERNEL, SINC_SIZE + 1, 2))
    omega = np.random.uniform(np.pi / 3, np.pi)
    return torch.FloatTensor(circular_lowpass_kernel(omega, size, pad_to=SINC_SIZE))[None]


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Filter an image as BasicSR's `filter2D` does, but faster.

    The zeros around the kernel are cut off, and a single grouped convolution filters all channels. The image is padded
    by mirroring or, if it is too small for that, by repeating the border pixels.

    Args:
        image: (1, C, H, W).
        kernel: (1, k, k) with k odd, applied to every channel.

    Returns:
        (1, C, H, W).
    """
    channels, size = image.shape[1], kernel.shape[-1]
    used = kernel[0].nonzero()
    zeros = int(min(used.min(), size - 1 - used.max()))
    weight = kernel[:, zeros : size - zeros, zeros : size - zeros].expand(channels, 1, -1, -1)
    mode = "reflect" if min(image.shape[-2:]) > size // 2 else "replicate"
    return F.conv2d(F.pad(image, [size // 2 - zeros] * 4, mode=mode), weight, groups=channels)


def draw_scale(settings: Mapping[str, Any], end: str) -> float:
    """Draw the resizing factor of a round."""
    low, high = settings[f"resize_range{end}"]
    kind = random.choices(["up", "down", "keep"], settings[f"resize_prob{end}"])[0]
    return np.random.uniform(1, high) if kind == "up" else np.random.uniform(low, 1) if kind == "down" else 1


def resize(image: Tensor, scale: float) -> Tensor:
    """Resize by a factor with a random interpolation. The result has at least one pixel."""
    scale = max(scale, 1 / min(image.shape[-2:]))
    return F.interpolate(image, scale_factor=scale, mode=random.choice(MODES))


def resize_to(image: Tensor, size: tuple[float, float]) -> Tensor:
    """Resize to `size` (h, w), rounded down to integers of at least 1, with a random interpolation."""
    height, width = (max(1, int(n)) for n in size)
    return F.interpolate(image, size=(height, width), mode=random.choice(MODES))


def add_noise(image: Tensor, settings: Mapping[str, Any], end: str) -> Tensor:
    """Add Gaussian or Poisson noise, gray or colored."""
    gray = settings[f"gray_noise_prob{end}"]
    if np.random.uniform() < settings[f"gaussian_noise_prob{end}"]:
        return random_add_gaussian_noise_pt(image, settings[f"noise_range{end}"], gray, clip=True, rounds=False)
    return random_add_poisson_noise_pt(image, settings[f"poisson_scale_range{end}"], gray, clip=True, rounds=False)


def compress(image: Tensor, quality_range: list[float]) -> Tensor:
    """Compress with BasicSR's DiffJPEG at a random quality."""
    quality = image.new_zeros(len(image)).uniform_(*quality_range)
    return _jpeger()(torch.clamp(image, 0, 1), quality=quality)


@cache
def _jpeger() -> DiffJPEG:
    return DiffJPEG(differentiable=False).requires_grad_(False)
