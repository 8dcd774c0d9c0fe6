"""Real-ESRGAN's degradation: two rounds of blur, resizing, noise and JPEG, and a sinc filter."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from liif_basicsr.config import degradations as options
from liif_basicsr.config.base import Probability
from liif_basicsr.data.decode import to_image_tensor, to_pixels
from liif_basicsr.data.degradations import steps
from liif_basicsr.data.degradations.degradation import register_degradation


@register_degradation("realesrgan")
class RealESRGAN:
    """The second-order degradation of Real-ESRGAN, with the options and defaults of BasicSR's options file for x4plus.

    The result equals the output of BasicSR's RealESRGANDataset and RealESRGANModel, with two differences:
    - `size` replaces the ground truth's size divided by a fixed scale, so any scale is possible.
    - The ground truth is not sharpened first.

    Source: Wang et al., Real-ESRGAN (ICCVW 2021), section 3; options/train/RealESRGAN of BasicSR.
    """

    class Options(options.DegradationOptions):
        """Options of the degradation; those whose name ends in 2 are for the second round."""

        blur_kernel_size: options.KernelSize = 21
        kernel_list: options.KernelNames = list(options.KERNELS)
        kernel_prob: options.KernelProbabilities = options.DEFAULT_KERNEL_PROB
        sinc_prob: options.SincProbability = 0.1
        blur_sigma: options.Sigma = [0.2, 3]
        betag_range: options.GeneralizedShape = [0.5, 4]
        betap_range: options.PlateauShape = [1, 2]
        resize_prob: options.ResizeProbabilities = [0.2, 0.7, 0.1]
        resize_range: options.ResizeRange = [0.15, 1.5]
        gaussian_noise_prob: options.GaussianProbability = 0.5
        noise_range: options.NoiseRange = [1, 30]
        poisson_scale_range: options.PoissonScale = [0.05, 3]
        gray_noise_prob: options.GrayProbability = 0.4
        jpeg_range: options.JPEGQuality = [30, 95]
        second_blur_prob: Probability = Field(0.8, description="probability that the second round blurs")
        blur_kernel_size2: options.KernelSize = 21
        kernel_list2: options.KernelNames = list(options.KERNELS)
        kernel_prob2: options.KernelProbabilities = options.DEFAULT_KERNEL_PROB
        sinc_prob2: options.SincProbability = 0.1
        blur_sigma2: options.Sigma = [0.2, 1.5]
        betag_range2: options.GeneralizedShape = [0.5, 4]
        betap_range2: options.PlateauShape = [1, 2]
        resize_prob2: options.ResizeProbabilities = [0.3, 0.4, 0.3]
        resize_range2: options.ResizeRange = Field(
            [0.3, 1.2], description="range of the second round's resizing factor, relative to the low-resolution size"
        )
        gaussian_noise_prob2: options.GaussianProbability = 0.5
        noise_range2: options.NoiseRange = [1, 25]
        poisson_scale_range2: options.PoissonScale = [0.05, 2.5]
        gray_noise_prob2: options.GrayProbability = 0.4
        jpeg_range2: options.JPEGQuality = [30, 95]
        final_sinc_prob: Probability = Field(
            0.8, description="probability of a final sinc filter, before or after the last compression"
        )

    def __init__(self, settings: Mapping[str, Any], where: str) -> None:
        for end in ("", "2"):
            steps.check_kernels(settings, end, where)
        self.settings = settings

    @torch.no_grad()
    def __call__(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the image, downsampled to `size` (h, w) and degraded."""
        s = self.settings
        kernels = [steps.draw_kernel(s, end) for end in ("", "2")]
        sinc = steps.draw_sinc(s["final_sinc_prob"])
        out = steps.blur(to_image_tensor(image)[None], kernels[0])
        out = steps.resize(out, steps.draw_scale(s, ""))
        out = steps.compress(steps.add_noise(out, s, ""), s["jpeg_range"])
        if np.random.uniform() < s["second_blur_prob"]:
            out = steps.blur(out, kernels[1])
        scale = steps.draw_scale(s, "2")
        out = steps.resize_to(out, (size[0] * scale, size[1] * scale))
        out = steps.add_noise(out, s, "2")
        if np.random.uniform() < 0.5:
            out = steps.compress(self._finish(out, size, sinc), s["jpeg_range2"])
        else:
            out = self._finish(steps.compress(out, s["jpeg_range2"]), size, sinc)
        return to_pixels(out[0])

    @staticmethod
    def _finish(image: Tensor, size: tuple[int, int], sinc: Tensor | None) -> Tensor:
        image = steps.resize_to(image, size)
        return image if sinc is None else steps.blur(image, sinc)
