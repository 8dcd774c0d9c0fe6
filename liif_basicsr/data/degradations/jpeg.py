"""Downsampling and JPEG compression."""
from __future__ import annotations

import random
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from liif_basicsr.config.degradations import DegradationOptions, JPEGQuality
from liif_basicsr.data.degradations.degradation import register_degradation
from liif_basicsr.data.sampling import downsample


@register_degradation("jpeg")
class JPEG:
    """Downsample with Pillow's bicubic, then compress as JPEG at a random integer quality from `jpeg_range`."""

    class Options(DegradationOptions):
        """Options of the degradation."""

        jpeg_range: JPEGQuality = [30, 95]

    def __init__(self, settings: Mapping[str, Any], where: str) -> None:
        self.range = settings["jpeg_range"]

    def __call__(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the image, downsampled to `size` (h, w) and degraded."""
        return compress_jpeg(downsample(image, size), draw_quality(self.range))


def draw_quality(quality_range: list[float]) -> int:
    """Draw a JPEG quality uniformly from [lowest, highest], and round it to an integer."""
    return round(random.uniform(*quality_range))


def compress_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Compress an RGB image, uint8 (H, W, 3), as JPEG and decode it again.

    Chroma is stored at half the resolution, as in most JPEG files. The result equals BasicSR's `add_jpg_compression`,
    which works on BGR images.
    """
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    with Image.open(file) as decoded:
        return np.array(decoded)
