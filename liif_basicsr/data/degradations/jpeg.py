"""JPEG alone: a clean image that was reduced and stored."""
from __future__ import annotations

import random
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from liif_basicsr.config import checks
from liif_basicsr.config.options import Field
from liif_basicsr.data.sampling import downsample


class JPEG:
    """Pillow's bicubic reduction, then a JPEG file of a whole quality from `jpeg_range`."""

    fields: Mapping[str, Field] = {"jpeg_range": Field(checks.pair(1, 100), [30, 95])}

    def __init__(self, settings: Mapping[str, Any], where: str) -> None:
        self.range = settings["jpeg_range"]

    def __call__(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Degrade an image to `size`, see `Degradation`."""
        return stored(downsample(image, size), draw_quality(self.range))


def draw_quality(quality_range: list[float]) -> int:
    """A whole number within the range, or the one that is nearest to it."""
    return round(random.uniform(*quality_range))


def stored(image: np.ndarray, quality: int) -> np.ndarray:
    """What is read again of an image that was stored as JPEG: uint8 (H, W, 3), RGB.

    Chroma has half the resolution, as in most JPEG files. Equal to BasicSR's `add_jpg_compression`, which takes BGR.
    """
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    with Image.open(file) as again:
        return np.array(again)
