"""Downsampling and JPEG compression."""
from __future__ import annotations

import random
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from liif_basicsr.config.degradations import DegradationOptions, JPEGQuality
from liif_basicsr.data.degradations.degradation import register
from liif_basicsr.data.sampling import downsample


@register("jpeg")
class JPEG:
    """Downsample with Pillow's bicubic, then compress at an integer quality from `jpeg_range`."""

    class Options(DegradationOptions):
        """Options of the degradation."""

        jpeg_range: JPEGQuality = [30, 95]

    def __init__(self, settings: Mapping[str, Any], where: str) -> None:
        self.range = settings["jpeg_range"]

    def __call__(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Degrade an image to `size` (h, w)."""
        return compress_jpeg(downsample(image, size), draw_quality(self.range))


def draw_quality(quality_range: list[float]) -> int:
    """Draw an integer quality from the range, or the nearest one to it."""
    return round(random.uniform(*quality_range))


def compress_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Compress uint8 (H, W, 3) RGB as JPEG and decode it again.

    Chroma has half the resolution, as in most JPEG files. Equal to BasicSR's `add_jpg_compression`, which takes BGR.
    """
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    with Image.open(file) as decoded:
        return np.array(decoded)
