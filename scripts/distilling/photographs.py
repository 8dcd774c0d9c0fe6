"""Photographs in device memory, and random crops of them."""
from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.reading import read_srgb
from liif_basicsr.images.suffixes import SUFFIXES
from liif_basicsr.rendering.cubic import cubic

CROP = 320  # in pixels; the shorter edge of the photographs of BSDS is 321


class Photographs:
    """8-bit RGB photographs in device memory.

    Args:
        folder: folder of images. Images less than 320 pixels wide or high are ignored.
        device: device on which the pixels are kept.

    Raises:
        LIIFError: no image is large enough, or an image cannot be read.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        files = sorted(file for file in folder.glob("*") if file.suffix.lower() in SUFFIXES)
        with ThreadPoolExecutor() as pool:
            images = [image for image in pool.map(lambda file: np.asarray(read_srgb(file)), files)
                      if min(image.shape[:2]) >= CROP]  # fmt: skip
        if not images:
            raise LIIFError(f"{folder}: has no image of at least {CROP}x{CROP} pixels; name a folder of photographs")
        self.height, self.width = (torch.tensor([image.shape[d] for image in images], device=device) for d in (0, 1))
        self.first = (self.height * self.width).cumsum(0) - self.height * self.width
        self.pixels = torch.from_numpy(np.concatenate([image.reshape(-1, 3) for image in images])).to(device)

    def __len__(self) -> int:
        return len(self.height)

    def crop(self, size: Tensor) -> Tensor:
        """Draw random crops. The probability of a photograph is proportional to its number of pixels.

        Args:
            size: height and width (B,) of each crop in pixels, at most `CROP`.

        Returns:
            (B, 3, CROP, CROP) float32 in [0, 255]. Each crop is in the first `size` rows and columns.
        """
        chance = torch.rand(2, len(size), device=size.device)
        k = torch.multinomial((self.height * self.width).float(), len(size), replacement=True)
        height, width = self.height[k], self.width[k]
        top, left = ((n - size + 1) * u for n, u in zip((height, width), chance, strict=True))
        i = torch.arange(CROP, device=size.device)
        rows = torch.minimum(top.long()[:, None] + i, (height - 1)[:, None])
        cols = torch.minimum(left.long()[:, None] + i, (width - 1)[:, None])
        index = self.first[k][:, None, None] + rows[:, :, None] * width[:, None, None] + cols[:, None]
        return self.pixels[index].permute(0, 3, 1, 2).float()


def reduce(image: Tensor, size: Tensor, new_size: Tensor, length: int) -> Tensor:
    """Downsample square images of different sizes with Pillow's bicubic filter.

    Like Pillow, it rounds to 8 bits after each axis.

    Args:
        image: (B, C, N, N) in [0, 255]. Each image is in the first `size` rows and columns.
        size, new_size: side lengths (B,) of the inputs and results in pixels. `new_size` is at most `size`.
        length: rows and columns of the output. Each result is in the first `new_size` rows and columns.

    Returns:
        (B, C, length, length) float32 with integers from 0 to 255.
    """
    pixels = torch.arange(length, device=image.device) + 0.5
    weight = resampling(pixels, size / new_size, size, image.shape[-1])[:, None]
    rows = (image @ weight.mT).round().clamp(0, 255)
    return (weight @ rows).round().clamp(0, 255)


def resampling(pixels: Tensor, stretch: Tensor, size: Tensor, length: int) -> Tensor:
    """Return the weights (B, P, length) of Pillow's bicubic filter, downsampling by `stretch`.

    Args:
        pixels: (P,) or (B, P), centers of the new pixels, in new pixels from the border.
        stretch: (B,), size of a new pixel in old pixels, at least 1.
        size: (B,), number of old pixels that belong to the image. The weights of the others are 0.
        length: number of old pixels.
    """
    center = pixels * stretch[:, None] - 0.5
    i = torch.arange(length, device=pixels.device)
    weight = cubic((center[..., None] - i) / stretch[:, None, None]) * (i < size[:, None, None])
    return weight / weight.sum(-1, keepdim=True).clamp(min=1e-6)


def draw_scales(count: int, low: float, high: float, marks: Iterable[float], device: torch.device) -> Tensor:
    """Draw (count,) scales: 30 % at a mark, 30 % within 0.25 of a mark, the others uniformly from low to high."""
    chosen, near, even, shift = torch.rand(4, count, device=device)
    mark = torch.tensor(list(marks), device=device)
    mark = mark[(near * len(mark)).long()]
    beside = (mark + (shift - 0.5) / 2).clamp(low, high)
    return torch.where(chosen < 0.3, mark, torch.where(chosen < 0.6, beside, low + (high - low) * even))
