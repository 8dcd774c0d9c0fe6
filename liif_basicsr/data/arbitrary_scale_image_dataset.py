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
    """Ground-truth images only; the low-resolution images are made on the fly.

    In training, each sample uses a scale drawn uniformly from `scale_range`: a crop with sides of
    round(lq_size * scale) pixels is downsampled to `lq_size`. In validation, for each scale in `scales`, each image is
    cropped to a multiple of the scale and then downsampled. The filter is Pillow's bicubic.

    The option `degradation` replaces this downsampling by a degradation, see `liif_basicsr.data.degradations`. Deeper
    images are rounded to 8 bits before they are degraded. The degradation's random choices are seeded from torch's
    generator in training, and from the file name in validation.

    See ArbitraryScaleDataset for items and options.

    Source: paper, section 4.1; `sr-implicit-downsampled` of the official code, which returns the same items for
    the same crop, scale, flips and pixels.
    """

    train_options, val_options = ImageTrainingSet, ImageValidationSet

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        block = self.settings["degradation"]
        self.degradation = None if block is None else Degradation(block, f"{self.where}: degradation")
        if self.degradation is not None and self.settings["channels"] != 3:
            raise LIIFError(f"{self.where}: degradation: needs channels: 3; remove degradation, or set channels: 3")
        if self.training:
            low, high = self.settings["scale_range"]
            self.check_sample_count((low, low))
            largest = scaled_size(self.settings["lq_size"], (high, high))
            self.check_sizes(self.gt[0], largest, "lq_size and scale_range")
        for k, scale in enumerate(self.scales):
            self.check_sizes(self.gt[k], (ceil(scale[0]), ceil(scale[1])), "scales")

    def training_pair(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
        """Draw a random crop of image `index`. Return the downsampled crop, the crop itself, and the image's path."""
        size, path = self.settings["lq_size"], self.gt[0].path(index)
        scale = rng.uniform(*self.settings["scale_range"])
        gt_size = scaled_size(size, (scale, scale))
        image = self.gt[0].read(index)
        gt = self.gt[0].to_unit(crop(image, random_corner(image.shape[:2], gt_size, rng), gt_size))
        if self.degradation is None:
            return downsample(gt, size), gt, path
        return self.degradation(to_uint8(gt), size, int(rng.integers(2**62))), gt, path

    def validation_pair(self, k: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the low-resolution image and the cropped ground truth of image `index` at `scales[k]`."""
        image = self.gt[k].read(index)
        size = floor_size(image.shape[:2], self.scales[k])
        gt = self.gt[k].to_unit(crop(image, (0, 0), scaled_size(size, self.scales[k])))
        if self.degradation is None:
            return downsample(gt, size), gt
        return self.degradation(to_uint8(gt), size, seed_of(self.gt[k].path(index))), gt
