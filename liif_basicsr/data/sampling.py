"""The steps from an image to a training sample: crop, downsample, transform, draw pixels or a patch of them.

All randomness comes from torch's generator, through `generator()`. BasicSR seeds NumPy's and Python's generators with
the same value at every epoch, so what they draw repeats; torch's seed differs between epochs and workers, and is
reproduced by `manual_seed`.
"""
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from liif_basicsr.data.decode import to_tensor
from liif_basicsr.rendering.coordinates import pixel_centers


def generator() -> np.random.Generator:
    """A generator for one sample, seeded from torch's; its `choice` is faster than torch.randperm."""
    return np.random.default_rng(int(torch.randint(2**62, ())))


def random_corner(size: tuple[int, int], crop: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Draw the corner (top, left) of a crop of (h, w) in an image of (H, W), uniform over all that fit."""
    return int(rng.integers(size[0] - crop[0] + 1)), int(rng.integers(size[1] - crop[1] + 1))


def crop(image: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The part of `image` (H, W, 3) that starts at `corner` (top, left): a contiguous copy (h, w, 3)."""
    (top, left), (height, width) = corner, size
    return image[top : top + height, left : left + width].copy()


def downsample(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink a contiguous uint8 image to `size` (h, w) with Pillow's bicubic: antialiased, rounded to 8 bits."""
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def downsample_part(
    image: np.ndarray, corner: tuple[int, int], part: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """The `part` (h, w) at `corner` (top, left) of a contiguous uint8 image, shrunk to `size` as `downsample` does.

    Equal to that part of the shrunk image: pixels around it count, too.
    """
    (top, left), (height, width) = corner, part
    box = (left, top, left + width, top + height)
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC, box=box))


def floor_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """Size of the low-resolution form of an image of `size` (H, W), rounded as in the official code."""
    return math.floor(size[0] / scale[0] + 1e-9), math.floor(size[1] / scale[1] + 1e-9)


def scaled_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """`size` (h, w) enlarged by a scale, rounded as in the official code."""
    return round(size[0] * scale[0]), round(size[1] * scale[1])


class DihedralTransform(NamedTuple):
    """One of the eight symmetries of a square, shared by an image and its low-resolution form."""

    horizontal: bool
    vertical: bool
    transpose: bool

    @classmethod
    def draw(cls, use_hflip: bool, use_rot: bool, rng: np.random.Generator) -> DihedralTransform:
        """Draw each with p = 0.5 where it is enabled; `use_rot` enables the vertical flip and the transposition."""
        horizontal, vertical, transpose = (bool(bit) for bit in rng.integers(2, size=3))
        return cls(use_hflip and horizontal, use_rot and vertical, use_rot and transpose)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The transformed `image` (H, W, C), as a view."""
        image = image[:: -1 if self.vertical else 1, :: -1 if self.horizontal else 1]
        return image.swapaxes(0, 1) if self.transpose else image


def sample_patch(image: np.ndarray, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw a square patch of `count` pixels, a square number.

    Returns:
        As `sample_pixels`, row by row.
    """
    height, width = image.shape[:2]
    side = math.isqrt(count)
    top, left = random_corner((height, width), (side, side), rng)
    y, x = pixel_centers(height, top, top + side), pixel_centers(width, left, left + side)
    coord = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)
    return coord.view(-1, 2), to_tensor(crop(image, (top, left), (side, side))).view(-1, 3)


def sample_pixels(image: np.ndarray, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw pixels without replacement.

    Args:
        image: uint8 (H, W, 3), also a view with negative strides; H * W must be at least `count`.

    Returns:
        coord: (count, 2) float32, (y, x) of their centres in [-1, 1].
        rgb: (count, 3) float32 in [0, 1].
    """
    height, width = image.shape[:2]
    rows, columns = np.divmod(rng.choice(height * width, count, replace=False, shuffle=False), width)
    y, x = pixel_centers(height).numpy()[rows], pixel_centers(width).numpy()[columns]
    return torch.from_numpy(np.stack((y, x), axis=-1)), to_tensor(image[rows, columns])
