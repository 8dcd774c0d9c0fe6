"""Real-ESRGAN's degradation: blur, resizing, noise and JPEG, twice, and a sinc filter."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.config import checks
from liif_basicsr.config.options import Field
from liif_basicsr.data.degradations import steps
from liif_basicsr.data.degradations.degradation import register


@register("realesrgan")
class RealESRGAN:
    """The second-order degradation of Real-ESRGAN, with the options and defaults of BasicSR's x4plus.

    The result equals BasicSR's RealESRGANDataset and RealESRGANModel, with two differences: the last resizing goes to
    `size`, for any scale, and the one before is relative to it; the ground truth is not sharpened first.

    Source: Wang et al., Real-ESRGAN (ICCVW 2021), section 3; options/train/RealESRGAN of BasicSR.
    """

    fields: Mapping[str, Field] = {
        **steps.blur_fields("", (0.2, 3), sinc_prob=0.1),
        "resize_prob": Field(checks.three_weights, [0.2, 0.7, 0.1]),
        "resize_range": Field(checks.around_one(0.01, 10), [0.15, 1.5]),
        **steps.noise_fields("", (1, 30), (0.05, 3)),
        "jpeg_range": Field(checks.pair(1, 100), [30, 95]),
        "second_blur_prob": Field(checks.probability, 0.8),
        **steps.blur_fields("2", (0.2, 1.5), sinc_prob=0.1),
        "resize_prob2": Field(checks.three_weights, [0.3, 0.4, 0.3]),
        "resize_range2": Field(checks.around_one(0.01, 10), [0.3, 1.2]),
        **steps.noise_fields("2", (1, 25), (0.05, 2.5)),
        "jpeg_range2": Field(checks.pair(1, 100), [30, 95]),
        "final_sinc_prob": Field(checks.probability, 0.8),
    }

    def __init__(self, settings: Mapping[str, Any], where: str) -> None:
        for end in ("", "2"):
            steps.check_kernels(settings, end, where)
        self.settings = settings

    @torch.no_grad()
    def __call__(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Degrade an image to `size` (h, w)."""
        s = self.settings
        kernels = [steps.draw_kernel(s, end) for end in ("", "2")]
        sinc = steps.draw_sinc(s["final_sinc_prob"])
        out = steps.blur(steps.to_float(image), kernels[0])
        out = steps.resize(out, steps.draw_scale(s, ""))
        out = steps.compress(steps.add_noise(out, s, ""), s["jpeg_range"])
        if np.random.uniform() < s["second_blur_prob"]:
            out = steps.blur(out, kernels[1])
        scale = steps.draw_scale(s, "2")
        out = steps.resize_to(out, (size[0] * scale, size[1] * scale))
        out = steps.add_noise(out, s, "2")
        if np.random.uniform() < 0.5:
            return steps.to_uint8(steps.compress(self._finish(out, size, sinc), s["jpeg_range2"]))
        return steps.to_uint8(self._finish(steps.compress(out, s["jpeg_range2"]), size, sinc))

    @staticmethod
    def _finish(image: Tensor, size: tuple[int, int], sinc: Tensor | None) -> Tensor:
        image = steps.resize_to(image, size)
        return image if sinc is None else steps.blur(image, sinc)
