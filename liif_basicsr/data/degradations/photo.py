"""One mild round of blur, noise and JPEG, typical of photographs from cameras and web pages."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import Field

from liif_basicsr.config import degradations as options
from liif_basicsr.config.base import Probability
from liif_basicsr.data.decode import to_image_tensor, to_pixels
from liif_basicsr.data.degradations import steps
from liif_basicsr.data.degradations.degradation import register_degradation
from liif_basicsr.data.degradations.jpeg import compress_jpeg, draw_quality
from liif_basicsr.data.sampling import downsample


@register_degradation("photo")
class Photo:
    """Downsample with Pillow's bicubic, blur slightly, add sensor noise, and compress as JPEG.

    Blur and noise are applied to the downsampled image, so they are the same at all scales. Except for `blur_prob`, the
    options are named as in the first round of `RealESRGAN`. Their defaults are milder.
    """

    class Options(options.DegradationOptions):
        """Options of the degradation."""

        blur_prob: Probability = Field(0.7, description="share of blurred images")
        blur_kernel_size: options.KernelSize = 9
        kernel_list: options.KernelNames = list(options.KERNELS)
        kernel_prob: options.KernelProbabilities = options.DEFAULT_KERNEL_PROB
        sinc_prob: options.SincProbability = 0.05
        blur_sigma: options.Sigma = Field(
            [0.2, 1.0], description="standard deviation of a blur kernel, in low-resolution pixels"
        )
        betag_range: options.GeneralizedShape = [0.5, 4]
        betap_range: options.PlateauShape = [1, 2]
        gaussian_noise_prob: options.GaussianProbability = 0.5
        noise_range: options.NoiseRange = [0, 6]
        poisson_scale_range: options.PoissonScale = [0.02, 0.4]
        gray_noise_prob: options.GrayProbability = 0.4
        jpeg_range: options.JPEGQuality = [60, 95]

    def __init__(self, settings: Mapping[str, Any], where: str) -> None:
        steps.check_kernels(settings, "", where)
        self.settings = settings

    @torch.no_grad()
    def __call__(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the image, downsampled to `size` (h, w) and degraded."""
        s = self.settings
        out = to_image_tensor(downsample(image, size))[None]
        if np.random.uniform() < s["blur_prob"]:
            out = steps.blur(out, steps.draw_kernel(s, ""))
        out = steps.add_noise(out, s, "")
        return compress_jpeg(to_pixels(out[0]), draw_quality(s["jpeg_range"]))
