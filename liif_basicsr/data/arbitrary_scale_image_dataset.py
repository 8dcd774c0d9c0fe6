"""ArbitraryScaleImageDataset: low resolution is made from the ground truth on the fly."""
from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from liif_basicsr.config.schema import IMAGE_DATASET
from liif_basicsr.data.base import ArbitraryScaleDataset
from liif_basicsr.data.degradations import Degradation, seed_of
from liif_basicsr.data.sampling import crop, downsample, floor_size, random_corner, scaled_size
from liif_basicsr.registration import register_in


@register_in("DATASET_REGISTRY")
class ArbitraryScaleImageDataset(ArbitraryScaleDataset):
    """Ground truth only, downsampled on the fly with Pillow's bicubic, or degraded.

    In training a scale is drawn uniformly from `scale_range`, and a crop of round(lq_size * scale) is shrunk to
    `lq_size`. In validation whole images are cropped to a multiple of each of `scales` and shrunk.

    Items and options are those of ArbitraryScaleDataset, and `degradation`, see `liif_basicsr.data.degradations`: what
    makes the low-resolution image instead. What it draws follows in training from torch's generator, as all else does,
    and in validation from the name of the file.

    Source: paper, section 4.1; `sr-implicit-downsampled` of the official code, to which items are equal where the
    same crop, scale, transform and pixels are drawn.
    """

    train_fields, val_fields = IMAGE_DATASET

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        block = self.settings["degradation"]
        self.degradation = None if block is None else Degradation(block, f"{self.where}: degradation")
        if self.training:
            low, high = self.settings["scale_range"]
            self.check_sample_count((low, low))
            largest = round(self.settings["lq_size"] * high)
            self.check_sizes(self.gt[0], (largest, largest), "lq_size and scale_range ask for")
        for k, scale in enumerate(self.scales):
            self.check_sizes(self.gt[k], (ceil(scale[0]), ceil(scale[1])), "scales ask for")

    def training_pair(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
        source, size = self.gt[0], self.settings["lq_size"]
        side = round(size * rng.uniform(*self.settings["scale_range"]))
        gt = source.crop(index, random_corner(source.size(index), (side, side), rng), (side, side))
        if self.degradation is None:
            return downsample(gt, (size, size)), gt, source.path(index)
        return self.degradation(gt, (size, size), int(rng.integers(2**62))), gt, source.path(index)

    def validation_pair(self, k: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        image = self.gt[k].read(index)
        size = floor_size(image.shape[:2], self.scales[k])
        gt = crop(image, (0, 0), scaled_size(size, self.scales[k]))
        if self.degradation is None:
            return downsample(gt, size), gt
        return self.degradation(gt, size, seed_of(self.gt[k].path(index))), gt
