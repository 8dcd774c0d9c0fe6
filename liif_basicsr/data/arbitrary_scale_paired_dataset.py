"""ArbitraryScalePairedDataset: reads both the low-resolution images and the ground truth from files."""
from __future__ import annotations

from os import path as osp
from pathlib import Path
from typing import Any

import numpy as np

from liif_basicsr.config.datasets import PairedTrainingSet, PairedValidationSet
from liif_basicsr.config.scales import scale_text
from liif_basicsr.data.base import ArbitraryScaleDataset
from liif_basicsr.data.distillation_pairs import check_pairs
from liif_basicsr.data.sampling import crop, downsample, floor_size, random_corner, scaled_size
from liif_basicsr.data.source import DATA_SUFFIXES, ImageSource
from liif_basicsr.errors import LIIFError
from liif_basicsr.registration import register_in


@register_in("DATASET_REGISTRY")
class ArbitraryScalePairedDataset(ArbitraryScaleDataset):
    """Pairs of low-resolution and ground-truth files, for one or several scales.

    `filename_tmpl` is the name of the low-resolution file. In it, '{}' is replaced by the ground truth's name without
    suffix. If the template has no suffix, the ground truth's suffix is used. In the template and in both dataroots,
    '{scale}' is replaced by the scale.

    The ground truth is cropped to the low-resolution size times the scale. Each training sample uses one of `scales`,
    drawn at random; in training, all scales must be whole numbers. With `scale_range`, `scales` must contain a single
    scale. Each training sample then draws a scale from `scale_range`, and the ground truth is downsampled to the
    low-resolution size times the drawn scale, with Pillow's bicubic.

    The option `teacher` {path, scale, degradation} is for pairs made by `prepare teach`. It is an error if the pairs
    were made with another teacher, scale or degradation.

    See ArbitraryScaleDataset for items and options.

    Source: `sr-implicit-paired` of the official code, which supports one scale.
    """

    train_options, val_options = PairedTrainingSet, PairedValidationSet

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        if self.training and any(s != int(s) for scale in self.scales for s in scale):
            message = "scales: must be whole numbers in training, otherwise crops of the two files would not align"
            raise LIIFError(f"{self.where}: {message}; remove fractional scales")
        check_pairs(Path(self.settings["dataroot_lq"]).parent, self.settings.get("teacher"), self.scales, self.where)
        self.lq = self.open_all("dataroot_lq", by_name=True)
        for k, scale in enumerate(self.scales):
            self.lq[k] = self._match(self.gt[k], self.lq[k], scale)
            for index in range(self.num_images):
                self._check_pair(k, index)
        if self.training:
            for scale in self._smallest_scales():
                self.check_sample_count(scale)
            for source in self.lq:
                self.check_sizes(source, self.settings["lq_size"], "lq_size and sample_q")

    def training_pair(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
        """Draw a random crop of pair `index`. Return the low-resolution crop, the ground truth and its path."""
        k, size = int(rng.integers(len(self.scales))), self.settings["lq_size"]
        lq, gt, scale = self.lq[k].read(index), self.gt[k].read(index), self.scales[k]
        corner = random_corner(lq.shape[:2], size, rng)
        window = scaled_size(corner, scale), scaled_size(size, scale)
        if self.settings["scale_range"] is None:
            target = self.gt[k].to_unit(crop(gt, *window))
        else:
            drawn = rng.uniform(*self.settings["scale_range"])
            target = downsample(self.gt[k].to_unit(gt), scaled_size(size, (drawn, drawn)), *window)
        return self.lq[k].to_unit(crop(lq, corner, size)), target, self.gt[k].path(index)

    def validation_pair(self, k: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the low-resolution image and the cropped ground truth of pair `index` at `scales[k]`."""
        lq, gt = self.lq[k].read(index), self.gt[k].read(index)
        gt = crop(gt, (0, 0), scaled_size(lq.shape[:2], self.scales[k]))
        return self.lq[k].to_unit(lq), self.gt[k].to_unit(gt)

    def _smallest_scales(self) -> list[tuple[float, float]]:
        """Return the smallest scales that training can draw. Raise if `scale_range` does not match the pairs."""
        scale_range = self.settings["scale_range"]
        if scale_range is None:
            return self.scales
        if len(self.scales) > 1 or self.scales[0][0] != self.scales[0][1]:
            raise LIIFError(f"{self.where}: scale_range: needs a single scale in scales; set, for example, scales: [4]")
        if scale_range[1] > self.scales[0][0]:
            own = scale_text(self.scales[0])
            message = f"scale_range: ends at {scale_range[1]:g}, but the pairs have scale {own}; lower its end to {own}"
            raise LIIFError(f"{self.where}: {message}")
        return [(scale_range[0], scale_range[0])]

    def _match(self, gt: ImageSource, lq: ImageSource, scale: tuple[float, float]) -> ImageSource:
        """Return `lq` with its images in the order of the ground truth."""
        if self.settings["meta_info_file"] is None and len(lq) > len(gt):
            counts = f"{lq.root} has {len(lq)} images, but {gt.root} has only {len(gt)}"
            remedy = "remove the extra images, or set meta_info_file to a list of the images to use"
            raise LIIFError(f"{self.where}: {counts}; {remedy}")
        template = self.settings["filename_tmpl"].replace("{scale}", scale_text(scale))
        return lq.selected([self._lq_name(lq, name, template) for name in gt.names], f"{self.where}: {gt.root}")

    def _lq_name(self, lq: ImageSource, name: str, template: str) -> str:
        """Return the name of the low-resolution file of the ground truth `name`.

        If `name` is in a subfolder, the file is searched for in the same subfolder first. It is then searched for
        directly in the low-resolution folder, as in BasicSR.
        """
        folder, file = osp.split(name)
        if self.settings["io_backend"] != "disk":  # names are keys, without a suffix
            return osp.join(folder, template.replace("{}", file))
        stem, suffix = osp.splitext(file)
        own_suffix = template.lower().endswith(DATA_SUFFIXES)
        wanted = template.replace("{}", stem) + ("" if own_suffix else suffix)
        for candidate in (osp.join(folder, wanted), wanted):
            if lq.has(candidate):
                return candidate
        base = template.replace("{}", stem)
        others = [] if own_suffix else [other for other in DATA_SUFFIXES if lq.has(base + other)]
        hint = f"set filename_tmpl: '{template}{others[0]}'" if others else "add it or change filename_tmpl"
        raise LIIFError(f"{self.where}: {lq.root} has no {wanted}, the low-resolution file of {name}; {hint}")

    def _check_pair(self, k: int, index: int) -> None:
        """Raise unless the ground truth is as large as the low-resolution image times the scale.

        The ground truth may be larger by less than one low-resolution pixel, as in DIV2K.
        """
        size, lq_size = self.size(self.gt[k], index), self.size(self.lq[k], index)
        if size is None or lq_size is None:
            return
        needed, most = scaled_size(lq_size, self.scales[k]), floor_size(size, self.scales[k])
        too_small = size[0] < needed[0] or size[1] < needed[1]
        if too_small or most[0] > lq_size[0] or most[1] > lq_size[1]:
            raise LIIFError(
                f"{self.where}: {self.gt[k].path(index)} is {size[0]}x{size[1]}, "
                f"{'smaller' if too_small else 'larger'} than {needed[0]}x{needed[1]}, the size of "
                f"{self.lq[k].path(index)} times {scale_text(self.scales[k])}; check the scale"
            )
