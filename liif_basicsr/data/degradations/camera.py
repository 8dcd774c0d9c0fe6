"""Degradation as in photographs taken at high ISO: dim scenes, demosaiced noise, and light JPEG compression."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import cv2
import numpy as np
from pydantic import Field

from liif_basicsr.config import degradations as options
from liif_basicsr.config.base import Probability, number_range
from liif_basicsr.data.degradations.degradation import register_degradation
from liif_basicsr.data.degradations.jpeg import compress_jpeg, draw_quality
from liif_basicsr.data.sampling import downsample


@register_degradation("camera")
class Camera:
    """Downsample with Pillow's bicubic, darken, add blurred noise, and compress as JPEG.

    A random share of the noise is the same in all channels. The noise is blurred with a Gaussian to imitate
    demosaicing.
    """

    class Options(options.DegradationOptions):
        """Options of the degradation."""

        dark_prob: Probability = Field(0.35, description="share of darkened images")
        exposure_range: Annotated[list[float], number_range(0.01, 1)] = Field(
            [0.15, 0.7], description="range of the factor applied to the pixels of darkened images"
        )
        noise_range: Annotated[list[float], number_range(0, 255)] = Field(
            [5, 20], description="standard deviation of the noise before it is blurred, for pixels from 0 to 255"
        )
        noise_blur: Annotated[list[float], number_range(0.01, 10)] = Field(
            [0.4, 1.0], description="standard deviation of the Gaussian that blurs the noise, in low-resolution pixels"
        )
        jpeg_range: options.JPEGQuality = [75, 95]

    def __init__(self, settings: Mapping[str, Any], where: str) -> None:
        self.settings = settings

    def __call__(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the image, downsampled to `size` (h, w) and degraded."""
        s = self.settings
        out = downsample(image, size).astype(np.float32)
        if np.random.uniform() < s["dark_prob"]:
            out *= np.random.uniform(*s["exposure_range"])
        shared = np.random.uniform()
        noise = shared * np.random.normal(size=(*size, 1)) + (1 - shared) * np.random.normal(size=(*size, 3))
        noise *= np.random.uniform(*s["noise_range"]) / np.hypot(shared, 1 - shared)
        blurred = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), np.random.uniform(*s["noise_blur"]))
        return compress_jpeg(np.rint(out + blurred).clip(0, 255).astype(np.uint8), draw_quality(s["jpeg_range"]))
