"""The steps from an image to a training sample: crop, downsample, flip, draw pixels or a patch.

All randomness comes from torch's generator, through `generator()`. BasicSR seeds NumPy's and Python's generators with
the same value at every epoch, so they would repeat; torch's seed differs between epochs and workers, and `manual_seed`
reproduces it.
"""
from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from liif_basicsr.data.decode import to_tensor
from liif_basicsr.rendering.coordinates import pixel_centers


def generator() -> np.random.Generator:
    """Return a generator for one sample, seeded from torch's; its `choice` is faster than torch.randperm."""
    return np.random.default_rng(int(torch.randint(2**62, ())))


def random_corner(size: tuple[int, int], crop: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Draw the corner (top, left) of a crop of (h, w) in an image of (H, W), uniformly."""
    return int(rng.integers(size[0] - crop[0] + 1)), int(rng.integers(size[1] - crop[1] + 1))


def crop(image: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Copy the part of `image` (H, W, C) that starts at `corner` (top, left): contiguous (h, w, C)."""
    (top, left), (height, width) = corner, size
    return image[top : top + height, left : left + width].copy()


def downsample(
    image: np.ndarray,
    size: tuple[int, int],
    corner: tuple[int, int] = (0, 0),
    part: tuple[int, int] | None = None,
) -> np.ndarray:
    """Shrink a contiguous image (H, W, C), or a part of it, to `size` (h, w) with Pillow's antialiased bicubic.

    A uint8 image stays uint8, rounded, as in the official code. A float32 image in [0, 1] is clamped and not rounded.

    Args:
        corner, part: (top, left) and (height, width) of the part; the whole image by default. The result equals a crop
            of the whole downsampled image: pixels around the part count, too.
    """
    (top, left), (height, width) = corner, part or image.shape[:2]
    return resize(image, size, Image.Resampling.BICUBIC, (left, top, left + width, top + height))


def resize(
    image: np.ndarray,
    size: tuple[int, int],
    kernel: Image.Resampling,
    box: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """Resize an image (H, W, C) to `size` (h, w) with one of Pillow's kernels, in its own depth.

    Args:
        image: uint8, or float32 in [0, 1], which is clamped afterwards.
        box: part (left, top, right, bottom) to resize instead of the whole image.
    """

    def resized(pixels: np.ndarray) -> np.ndarray:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(image.resize((size[1], size[0]), kernel, box=box))

    if image.dtype == np.uint8 and image.shape[2] == 3:
        return resized(image)
    # Band by band: Pillow's float images have one band, and resizing RGBA multiplies the colors by alpha.
    bands = np.stack([resized(image[..., band]) for band in range(image.shape[2])], axis=-1)
    return bands if image.dtype == np.uint8 else bands.clip(0, 1)


def floor_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """Divide `size` (H, W) by a scale, rounded down as in the official code."""
    return math.floor(size[0] / scale[0] + 1e-9), math.floor(size[1] / scale[1] + 1e-9)


def scaled_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """Multiply `size` (h, w) by a scale, rounded as in the official code."""
    return round(size[0] * scale[0]), round(size[1] * scale[1])


def augment(
    images: list[np.ndarray], use_hflip: bool, use_rot: bool, rng: np.random.Generator
) -> list[np.ndarray]:
    """Flip images (H, W, C) horizontally, flip them vertically and transpose them, each with p = 0.5.

    All images are treated alike. `use_hflip` enables the horizontal flip, `use_rot` the other two, as in BasicSR's
    `augment`. Images are transposed only if the first one is square, so that a batch has one shape.

    Returns:
        Views of the images.
    """
    horizontal, vertical, transpose = (bool(bit) for bit in rng.integers(2, size=3))
    square = images[0].shape[0] == images[0].shape[1]
    rows, cols = -1 if use_rot and vertical else 1, -1 if use_hflip and horizontal else 1
    flipped = [image[::rows, ::cols] for image in images]
    return [image.swapaxes(0, 1) for image in flipped] if use_rot and transpose and square else flipped


def sample_patch(image: np.ndarray, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw a square patch of `count` pixels, a square number.

    Returns:
        coord, colors: see `sample_pixels`; ordered row by row.
    """
    height, width = image.shape[:2]
    side = math.isqrt(count)
    top, left = random_corner((height, width), (side, side), rng)
    y, x = pixel_centers(height, top, top + side), pixel_centers(width, left, left + side)
    coord = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)
    return coord.view(-1, 2), to_tensor(crop(image, (top, left), (side, side))).flatten(0, 1)


def sample_pixels(image: np.ndarray, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw pixels without replacement.

    Args:
        image: uint8, or float32 in [0, 1], (H, W, C), also a view with negative strides; H * W must be at least
            `count`.

    Returns:
        coord: (count, 2) float32, (y, x) of the pixel centers in [-1, 1].
        colors: (count, C) float32 in [0, 1].
    """
    height, width = image.shape[:2]
    rows, columns = np.divmod(rng.choice(height * width, count, replace=False, shuffle=False), width)
    y, x = pixel_centers(height).numpy()[rows], pixel_centers(width).numpy()[columns]
    return torch.from_numpy(np.stack((y, x), axis=-1)), to_tensor(image[rows, columns])
