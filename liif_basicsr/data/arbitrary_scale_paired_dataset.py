"""ArbitraryScalePairedDataset: low resolution is read from files."""
from __future__ import annotations

from os import path as osp
from pathlib import Path
from typing import Any

import numpy as np

from liif_basicsr.config.options import scale_text
from liif_basicsr.config.schema import PAIRED_DATASET
from liif_basicsr.data.base import ArbitraryScaleDataset
from liif_basicsr.data.sampling import crop, downsample_part, random_corner, scaled_size
from liif_basicsr.data.source import ImageSource
from liif_basicsr.data.taught import check_taught
from liif_basicsr.errors import LIIFError
from liif_basicsr.registration import register_in


@register_in("DATASET_REGISTRY")
class ArbitraryScalePairedDataset(ArbitraryScaleDataset):
    """Low-resolution images and their ground truth, at each of `scales`.

    The low-resolution form of `name.png` is named by `filename_tmpl`, in which '{}' stands for `name`; '{scale}' stands
    for the scale there and in both dataroots. Ground truth is cropped to the low-resolution size times the scale. In
    training each sample draws one of `scales`, which must then be whole numbers; or, with `scale_range`, any scale
    within it, and the ground truth of the only one of `scales` is reduced to it with Pillow's bicubic.

    Of pairs that `prepare_data.py teach` made, `teacher` says which ones are wanted: {path, scale, degradation}.

    Items and options are those of ArbitraryScaleDataset.

    Source: `sr-implicit-paired` of the official code, which takes one scale.
    """

    train_fields, val_fields = PAIRED_DATASET

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        if self.training and any(s != int(s) for scale in self.scales for s in scale):
            raise LIIFError(f"{self.where}: scales: must be whole numbers in training, or crops would not match")
        check_taught(Path(self.settings["dataroot_lq"]).parent, self.settings.get("teacher"), self.scales, self.where)
        self.lq = self.open_all("dataroot_lq", with_meta=False)
        for k, scale in enumerate(self.scales):
            self.lq[k] = self._match(self.gt[k], self.lq[k], scale)
            for index in range(self.num_images):
                self._check_pair(k, index)
        if self.training:
            for scale in self._smallest_scales():
                self.check_sample_count(scale)
            for source in self.lq:
                self.check_sizes(source, (self.settings["lq_size"],) * 2, "lq_size asks for")

    def lq_path(self, k: int, index: int) -> str:
        return self.lq[k].path(index)

    def training_pair(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
        k, side = int(rng.integers(len(self.scales))), self.settings["lq_size"]
        gt, lq, scale = self.gt[k], self.lq[k], self.scales[k]
        corner = random_corner(lq.size(index), (side, side), rng)
        if self.settings["scale_range"] is not None:
            wanted = round(side * rng.uniform(*self.settings["scale_range"]))
            part = scaled_size(corner, scale), scaled_size((side, side), scale)
            target = downsample_part(gt.read(index), *part, (wanted, wanted))
            return lq.crop(index, corner, (side, side)), target, gt.path(index)
        crop_gt = gt.crop(index, scaled_size(corner, scale), scaled_size((side, side), scale))
        return lq.crop(index, corner, (side, side)), crop_gt, gt.path(index)

    def validation_pair(self, k: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        lq, gt = self.lq[k].read(index), self.gt[k].read(index)
        return lq, crop(gt, (0, 0), scaled_size(lq.shape[:2], self.scales[k]))

    def _smallest_scales(self) -> list[tuple[float, float]]:
        """The smallest scales that are drawn in training; LIIFError where `scale_range` asks for what is not there."""
        reduced = self.settings["scale_range"]
        if reduced is None:
            return self.scales
        if len(self.scales) > 1 or self.scales[0][0] != self.scales[0][1]:
            raise LIIFError(f"{self.where}: scale_range: needs one scale in scales, that of the pairs, such as [4]")
        if reduced[1] > self.scales[0][0]:
            own = scale_text(self.scales[0])
            raise LIIFError(f"{self.where}: scale_range: goes up to {reduced[1]:g}, the pairs are of scale {own}")
        return [(reduced[0], reduced[0])]

    def _match(self, gt: ImageSource, lq: ImageSource, scale: tuple[float, float]) -> ImageSource:
        """The low-resolution source, in the order of the ground truth."""
        template = self.settings["filename_tmpl"].replace("{scale}", scale_text(scale))
        names = []
        for name in gt.names:
            stem, suffix = osp.splitext(name) if self.settings["io_backend"] == "disk" else (name, "")
            names.append(template.replace("{}", stem) + suffix)
        if self.settings["meta_info_file"] is None and len(lq) > len(gt):
            raise LIIFError(f"{self.where}: {lq.root} has {len(lq)} images, {gt.root} only {len(gt)}")
        return lq.selected(names, f"{self.where}: {gt.root}")

    def _check_pair(self, k: int, index: int) -> None:
        """Raise LIIFError where the ground truth is smaller than the low-resolution image times the scale."""
        size, lq_size = self.size(self.gt[k], index), self.size(self.lq[k], index)
        if size is None or lq_size is None:
            return
        needed = scaled_size(lq_size, self.scales[k])
        if size[0] < needed[0] or size[1] < needed[1]:
            raise LIIFError(
                f"{self.where}: {self.gt[k].path(index)} is {size[0]}x{size[1]}, smaller than {needed[0]}x{needed[1]}, "
                f"which is {self.lq[k].path(index)} times {scale_text(self.scales[k])}; is the scale right?"
            )
