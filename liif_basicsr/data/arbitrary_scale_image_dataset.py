"""ArbitraryScaleImageDataset: makes low-resolution images from the ground truth on the fly."""
from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from liif_basicsr.config.datasets import ImageTrainingSet, ImageValidationSet
from liif_basicsr.data.base import ArbitraryScaleDataset
from liif_basicsr.data.decode import to_uint8
from liif_basicsr.data.degradations import Degradation, seed_of
from liif_basicsr.data.sampling import crop, downsample, floor_size, random_corner, scaled_size
from liif_basicsr.errors import LIIFError
from liif_basicsr.registration import register_in


@register_in("DATASET_REGISTRY")
class ArbitraryScaleImageDataset(ArbitraryScaleDataset):
    """Ground truth only, downsampled on the fly with Pillow's bicubic, or degraded in 8 bits.

    In training a scale is drawn uniformly from `scale_range`, and a crop of round(lq_size * scale) pixels is
    downsampled to `lq_size`. In validation whole images are cropped to a multiple of each of `scales` and downsampled.

    See ArbitraryScaleDataset for items and options. The option `degradation` replaces the plain downsampling, see
    `liif_basicsr.data.degradations`. Its random choices follow from torch's generator in training, and from the file
    name in validation.

    Source: paper, section 4.1; `sr-implicit-downsampled` of the official code, which returns equal items for the same
    crop, scale, flips and pixels.
    """

    train_options, val_options = ImageTrainingSet, ImageValidationSet

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        block = self.settings["degradation"]
        self.degradation = None if block is None else Degradation(block, f"{self.where}: degradation")
        if self.degradation is not None and self.settings["channels"] != 3:
            raise LIIFError(f"{self.where}: degradation: needs channels: 3; remove one of them")
        if self.training:
            low, high = self.settings["scale_range"]
            self.check_sample_count((low, low))
            largest = scaled_size(self.settings["lq_size"], (high, high))
            self.check_sizes(self.gt[0], largest, "lq_size and scale_range")
        for k, scale in enumerate(self.scales):
            self.check_sizes(self.gt[k], (ceil(scale[0]), ceil(scale[1])), "scales")

    def training_pair(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
        """Crop image `index`; return its low-resolution form, the ground truth, and the image's path."""
        size, path = self.settings["lq_size"], self.gt[0].path(index)
        scale = rng.uniform(*self.settings["scale_range"])
        gt_size = scaled_size(size, (scale, scale))
        image = self.gt[0].read(index)
        gt = self.gt[0].to_unit(crop(image, random_corner(image.shape[:2], gt_size, rng), gt_size))
        if self.degradation is None:
            return downsample(gt, size), gt, path
        return self.degradation(to_uint8(gt), size, int(rng.integers(2**62))), gt, path

    def validation_pair(self, k: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image `index` at scale number `k`: its low-resolution form and the ground truth."""
        image = self.gt[k].read(index)
        size = floor_size(image.shape[:2], self.scales[k])
        gt = self.gt[k].to_unit(crop(image, (0, 0), scaled_size(size, self.scales[k])))
        if self.degradation is None:
            return downsample(gt, size), gt
        return self.degradation(to_uint8(gt), size, seed_of(self.gt[k].path(index))), gt
