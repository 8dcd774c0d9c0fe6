"""Functions that turn an image into a training sample: crop, downsample, flip, and draw pixels or a patch.

All random numbers are derived from torch's generator, by `generator()`. BasicSR seeds the NumPy and Python generators
with the same value in every epoch, so their numbers would repeat. Torch's seed differs between epochs and workers, and
the option `manual_seed` makes it reproducible.
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
    """Return a NumPy generator for one sample, seeded from torch's generator.

    NumPy's `choice` draws pixels faster than torch.randperm.
    """
    return np.random.default_rng(int(torch.randint(2**62, ())))


def random_corner(size: tuple[int, int], crop: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Draw the corner (top, left) of a crop of size `crop` (h, w), uniformly in an image of `size` (H, W)."""
    return int(rng.integers(size[0] - crop[0] + 1)), int(rng.integers(size[1] - crop[1] + 1))


def crop(image: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Return a contiguous copy of the window of `image` (H, W, C) with this `corner` (top, left) and `size` (h, w)."""
    (top, left), (height, width) = corner, size
    return image[top : top + height, left : left + width].copy()


def downsample(
    image: np.ndarray,
    size: tuple[int, int],
    corner: tuple[int, int] = (0, 0),
    part: tuple[int, int] | None = None,
) -> np.ndarray:
    """Downsample a contiguous image (H, W, C), or a part of it, to `size` (h, w) with Pillow's antialiased bicubic.

    For a uint8 image, the result is rounded to uint8, as in the official code. For a float32 image, it is clamped to
    [0, 1] and not rounded.

    Args:
        corner, part: (top, left) and (height, width) of the part; the whole image by default. The filter also reads
            pixels around the part. The result therefore equals a crop of the whole downsampled image.
    """
    (top, left), (height, width) = corner, part or image.shape[:2]
    return resize(image, size, Image.Resampling.BICUBIC, (left, top, left + width, top + height))


def resize(
    image: np.ndarray,
    size: tuple[int, int],
    kernel: Image.Resampling,
    box: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """Resize an image (H, W, C) to `size` (h, w) with one of Pillow's kernels. The data type stays the same.

    Args:
        image: uint8, or float32 in [0, 1]. A float32 result is clamped to [0, 1].
        box: part (left, top, right, bottom) to resize instead of the whole image.
    """

    def resized(pixels: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(picture.resize((size[1], size[0]), kernel, box=box))

    if image.dtype == np.uint8 and image.shape[2] == 3:
        return resized(image)
    # Resize band by band: Pillow's float images have only one band, and its RGBA resizing multiplies colors by alpha.
    bands = np.stack([resized(image[..., band]) for band in range(image.shape[2])], axis=-1)
    return bands if image.dtype == np.uint8 else bands.clip(0, 1)


def floor_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """Divide `size` (H, W) by `scale` (along y, along x) and round down, as in the official code."""
    return math.floor(size[0] / scale[0] + 1e-9), math.floor(size[1] / scale[1] + 1e-9)


def scaled_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """Multiply `size` (h, w) by `scale` (along y, along x) and round, as in the official code."""
    return round(size[0] * scale[0]), round(size[1] * scale[1])


def augment(
    images: list[np.ndarray], use_hflip: bool, use_rot: bool, rng: np.random.Generator
) -> list[np.ndarray]:
    """Flip images (H, W, C) horizontally, flip them vertically, and transpose them, each with probability 0.5.

    The same operations apply to all images. As in BasicSR's `augment`, `use_hflip` enables the horizontal flip, and
    `use_rot` enables the vertical flip and the transposition. Images are transposed only if the first one is square,
    so that all items of a batch have the same shape.

    Returns:
        Views of the images, in the same order.
    """
    horizontal, vertical, transpose = (bool(bit) for bit in rng.integers(2, size=3))
    square = images[0].shape[0] == images[0].shape[1]
    rows, cols = -1 if use_rot and vertical else 1, -1 if use_hflip and horizontal else 1
    flipped = [image[::rows, ::cols] for image in images]
    return [image.swapaxes(0, 1) for image in flipped] if use_rot and transpose and square else flipped


def sample_patch(image: np.ndarray, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw a random square patch of `count` pixels. `count` must be a square number.

    Returns:
        coord, colors: as from `sample_pixels`, but ordered row by row.
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
        image: (H, W, C), uint8 or float32 in [0, 1]. It may be a view with negative strides.
        count: number of pixels, at most H * W.

    Returns:
        coord: (count, 2) float32, the (y, x) of the pixel centers in [-1, 1].
        colors: (count, C) float32 in [0, 1], the values of these pixels.
    """
    height, width = image.shape[:2]
    rows, columns = np.divmod(rng.choice(height * width, count, replace=False, shuffle=False), width)
    y, x = pixel_centers(height).numpy()[rows], pixel_centers(width).numpy()[columns]
    return torch.from_numpy(np.stack((y, x), axis=-1)), to_tensor(image[rows, columns])
