"""SizeVariedPairedDataset: low-resolution images of one size, and ground truth of many sizes."""
from __future__ import annotations

import json
from os import path as osp
from typing import Any

import numpy as np

from liif_basicsr.config.datasets import SizeVariedTrainingSet, SizeVariedValidationSet
from liif_basicsr.data.base import ArbitraryScaleDataset
from liif_basicsr.data.download_hints import download_hint
from liif_basicsr.data.sampling import downsample
from liif_basicsr.data.source import ImageSource
from liif_basicsr.errors import LIIFError, suggest
from liif_basicsr.registration import register_in


@register_in("DATASET_REGISTRY")
class SizeVariedPairedDataset(ArbitraryScaleDataset):
    """Pairs of square images whose ground truth varies in size, the paper's CelebA-HQ task.

    In training, the ground truth of image `index` (of n images) is resized with Pillow's bicubic to a side of
    round(size_min + (size_max - size_min) * index / (n - 1)), and pixels are drawn from the result. With `gt_size`, the
    result is resized once more before pixels are drawn, to the single size that a fixed-scale network needs. The
    low-resolution image is not cropped. In validation, both images are used unchanged, and the scale is the ratio of
    their sizes.

    `split_file` is a JSON file that contains lists of file names. The dataset uses the list `split_key` in its order,
    or only the first `first_k` entries of the list. See ArbitraryScaleDataset for items.

    Source: paper, section 4.3; `sr-implicit-uniform-varied` of the official code, which returns the same items for the
    same flips and pixels.
    """

    train_options, val_options = SizeVariedTrainingSet, SizeVariedValidationSet

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.lq = self.open_all("dataroot_lq")
        side, lq_side = self._side(self.gt[0]), self._side(self.lq[0])
        if self.training:
            self._check_training(side)
        else:
            self.scales = [(side / lq_side, side / lq_side)]

    def open_all(self, key: str, by_name: bool = True) -> list[ImageSource]:
        """Open the images of the split."""
        sources = super().open_all(key, by_name)
        return [source.selected(self._names(), self.settings["split_file"]) for source in sources]

    def training_pair(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
        """Return the low-resolution image, the resized ground truth, and the ground truth's path, for image `index`."""
        low, high, final = (self.settings[key] for key in ("size_min", "size_max", "gt_size"))
        size = round(low + (high - low) * (index / max(self.num_images - 1, 1)))
        gt = downsample(self.gt[0].to_unit(self.gt[0].read(index)), (size, size))
        if final is not None:
            gt = downsample(gt, (final, final))
        return self.lq[0].to_unit(self.lq[0].read(index)), gt, self.gt[0].path(index)

    def validation_pair(self, k: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the low-resolution image and the ground truth of image `index`."""
        lq, gt = (source.to_unit(source.read(index)) for source in (self.lq[0], self.gt[0]))
        return lq, gt

    def _names(self) -> list[str]:
        """Return the image names of the split. Names in LMDB and pixel sources have no suffix."""
        path, key = self.settings["split_file"], self.settings["split_key"]
        where = f"{self.where}: split_file: {path}"
        try:
            with open(path, encoding="utf-8-sig") as file:
                split = json.load(file)
        except OSError as error:
            remedy = download_hint(path, "correct the path")
            raise LIIFError(f"{where} cannot be read: {error.strerror}; {remedy}") from None
        except ValueError as error:  # invalid JSON or UTF-8
            raise LIIFError(f"{where} is not JSON: {error}") from None
        if not isinstance(split, dict) or key not in split:
            raise LIIFError(f"{where}: has no list {key!r}{suggest(key, split if isinstance(split, dict) else ())}")
        names = split[key]
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise LIIFError(f"{where}: {key!r} must be a non-empty list of file names")
        names = names[: self.settings["first_k"]]
        return names if self.settings["io_backend"] == "disk" else [osp.splitext(name)[0] for name in names]

    def _side(self, source: ImageSource) -> int:
        """Return the side of the images. Raise unless all are squares of one size."""
        sizes = ((index, self.size(source, index)) for index in range(len(source)))
        known = [(index, size) for index, size in sizes if size is not None]
        if not known:
            raise LIIFError(f"{self.where}: all images in {source.root} are corrupt; replace them")
        side = known[0][1][0]
        for index, size in known:
            if size != (side, side):
                found = f"{source.path(index)} is {size[0]}x{size[1]}"
                raise LIIFError(f"{self.where}: {found}, not {side}x{side}; all images must be squares of one size")
        return side

    def _check_training(self, side: int) -> None:
        low, high, final, count = (self.settings[key] for key in ("size_min", "size_max", "gt_size", "sample_q"))
        if not low <= high <= side:
            raise LIIFError(
                f"{self.where}: size_min is {low} and size_max is {high}; set size_min to at most size_max, and "
                f"size_max to at most {side}, the side of the ground truth"
            )
        if count > (final or low) ** 2:
            pixels = (final or low) ** 2
            found = f"sample_q is {count}, but the smallest ground truth has {pixels} pixels"
            raise LIIFError(f"{self.where}: {found}; lower sample_q or raise {'gt_size' if final else 'size_min'}")
