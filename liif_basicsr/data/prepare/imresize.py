"""Bicubic downsampling as in older versions of MATLAB's `imresize`.

The usual low-resolution images of the benchmark sets were made with it.
"""
from __future__ import annotations

import numpy as np

from liif_basicsr.rendering.cubic import cubic


def imresize(image: np.ndarray, scale: int) -> np.ndarray:
    """Downsample an image by an integer scale.

    The image is downsampled along y and then along x. Each pass repeats the border pixels (newer versions of MATLAB
    mirror them) and rounds to 8 bits. The output equals the usual files of Set5 and Set14 bit for bit.

    Args:
        image: uint8 (H, W, 3); H and W are multiples of `scale`.

    Returns:
        uint8 (H / scale, W / scale, 3).
    """
    for axis in (0, 1):
        margin = [(2 * scale, 2 * scale) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(image.astype(np.float64), margin, mode="edge")
        reduced = np.tensordot(_weights(image.shape[axis], scale), padded, axes=(1, axis))
        image = np.floor(np.moveaxis(reduced, 0, axis).clip(0, 255) + 0.5).astype(np.uint8)
    return image


def _weights(n: int, scale: int) -> np.ndarray:
    """Return the weights (n / scale, n + 4 * scale) of the padded input pixels in each output pixel of one axis."""
    centers = (np.arange(n // scale) + 0.5) * scale - 0.5
    # Stretch the kernel by the scale to avoid aliasing.
    weights = cubic((centers[:, None] - np.arange(-2 * scale, n + 2 * scale)) / scale)
    return weights / weights.sum(axis=1, keepdims=True)
