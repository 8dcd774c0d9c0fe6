"""Bicubic downsampling by MATLAB's older `imresize`, which the usual low-resolution files were made with."""
from __future__ import annotations

import numpy as np


def reduce(image: np.ndarray, scale: int) -> np.ndarray:
    """Downsample an image by a whole scale.

    The output is bit for bit that of the usual files of Set5 and Set14: first along y, then along x, each rounded to
    8 bits; beyond the border the last pixel is repeated (newer versions of MATLAB mirror there).

    Args:
        image: uint8 (H, W, 3); H and W are multiples of `scale`.

    Returns:
        uint8 (H / scale, W / scale, 3).

    Source: Keys, Cubic convolution interpolation (1981), a = -1/2, stretched by the scale against aliasing.
    """
    for axis in (0, 1):
        margin = [(2 * scale, 2 * scale) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(image.astype(np.float64), margin, mode="edge")
        reduced = np.tensordot(_weights(image.shape[axis], scale), padded, axes=(1, axis))
        image = np.floor(np.moveaxis(reduced, 0, axis).clip(0, 255) + 0.5).astype(np.uint8)
    return image


def _weights(n: int, scale: int) -> np.ndarray:
    """(n / scale, n + 4 scale) weights of the pixels of a padded axis in each downsampled one."""
    centers = (np.arange(n // scale) + 0.5) * scale - 0.5
    x = np.abs(centers[:, None] - np.arange(-2 * scale, n + 2 * scale)) / scale
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x <= 1, near, np.where(x < 2, far, 0))
    return weights / weights.sum(axis=1, keepdims=True)
