"""ArbitraryScaleDataset: base class with the options and items that all datasets share."""
from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from basicsr.utils.dist_util import get_dist_info
from torch.utils.data import Dataset

from liif_basicsr.config import datasets
from liif_basicsr.config.base import validate
from liif_basicsr.config.scales import scale_text
from liif_basicsr.data.decode import to_image_tensor
from liif_basicsr.data.download_hints import PREPARE
from liif_basicsr.data.prefetch import check_prefetching
from liif_basicsr.data.sampling import augment, generator, sample_patch, sample_pixels, scaled_size
from liif_basicsr.data.source import ImageSource, open_source
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.coordinates import make_cell

logger = logging.getLogger("basicsr")

# How many bytes of decoded pixels are checked before training starts.
CHECKED_BYTES = 1 << 29


class ArbitraryScaleDataset(Dataset):
    """Base class of the datasets: pairs of an image and its low-resolution version, at any scale.

    A training item is a dict of
        lq: (C, h, w) float32 in [0, 1]; C is the option `channels`, 3 (RGB) by default;
        coord: (Q, 2) float32, the (y, x) centers of the sampled pixels in [-1, 1]. The pixels are drawn from the
            crop without replacement. With `sample: patch`, they form a random square window, row by row;
        cell: (1, 2) float32, height and width of a pixel of the crop in these coordinates;
        gt: (Q, C) float32 in [0, 1], the ground truth at `coord`;
        scale: (2,) float32, (along y, along x), size of the crop divided by the size of `lq`;
        gt_path: path of the ground-truth image.
    Validation uses all images at the first scale, then all images at the second one, and so on. An item is a dict of
        lq: (C, h, w) float32 and gt: (C, H, W) float32, both in [0, 1];
        scale: (2,) float32, (along y, along x), as in the options;
        lq_path, gt_path: paths of the two images.

    A corrupt image raises LIIFError. In training with `on_corrupt: skip`, it is logged, counted, and replaced by
    another image. All random numbers are derived from torch's generator, so they differ between epochs and workers, and
    `manual_seed` makes them reproducible. If `epoch_size` is not a multiple of the number of images, as with
    `dataset_enlarge_ratio: 0.5`, every epoch uses different images, so that all are drawn equally often.

    Attributes:
        opt: the dataset's block of options, as BasicSR passes it.
        scales: list of (along y, along x): the scales of the low-resolution files or of the validation items. Empty in
            training if the dataset has no option `scales`.
        protocol: the option `protocol`: benchmark, div2k or None.
        gt, lq: lists of ImageSource, one per scale (one if `scales` is empty): the files of the ground truth, and the
            files that the low-resolution images are read or made from.
        num_images: number of images at each scale.
        epoch_size: number of samples in an epoch, summed over all processes.
        skipped: number of corrupt images skipped in this process.

    Args:
        opt: a block of `datasets` in an options file, with the `phase` that BasicSR adds.

    Raises:
        LIIFError: an option is unknown, missing or of the wrong type, or the data is missing, corrupt or too small.
    """

    # Pydantic models of the options. Subclasses with further options override them.
    train_options: type[datasets.Dataset] = datasets.ScaledTrainingSet
    val_options: type[datasets.Dataset] = datasets.ScaledValidationSet

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.where = f"datasets: {opt.get('name', '(no name)')}"
        self.training = opt.get("phase") == "train"
        options = validate(self.train_options if self.training else self.val_options, opt, self.where)
        self.settings = {**dict(options), "io_backend": options.io_backend.type}
        check_prefetching(self.settings["prefetch_mode"], self.where)
        self.protocol = self.settings.get("protocol")
        self.scales = self._scales() if "scales" in self.settings else []
        self.skipped = 0
        self.lq = self.gt = self.open_all("dataroot_gt")  # classes that read low-resolution files replace `lq`
        self.num_images = len(self.gt[0])
        self.epoch_size = self.sampler_size()
        for source in self.gt:
            if len(source) != self.num_images:
                counts = f"{self.gt[0].root} has {self.num_images} images, but {source.root} has {len(source)}"
                raise LIIFError(f"{self.where}: {counts}; provide the same images at all scales")

    def training_pair(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
        """Return a sample of image `index`: the low-resolution input, the ground truth, and the ground truth's path."""
        raise NotImplementedError

    def validation_pair(self, k: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the low-resolution image and the ground truth of image `index` at `scales[k]`."""
        raise NotImplementedError

    def dtype(self, k: int, index: int) -> np.dtype:
        """Return the data type of the ground-truth file of image `index` at `scales[k]`."""
        return self.gt[k].header(index).dtype

    def __len__(self) -> int:
        return self.num_images if self.training else self.num_images * len(self.scales)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.training:
            skip = self.settings["on_corrupt"] == "skip"
            return self._item_or_another(index) if skip else self._training_item(index)
        k, index = divmod(index, self.num_images)
        lq, gt = self.validation_pair(k, index)
        return {
            "lq": to_image_tensor(lq),
            "gt": to_image_tensor(gt),
            "scale": torch.tensor(self.scales[k], dtype=torch.float32),
            "lq_path": self.lq[k].path(index),
            "gt_path": self.gt[k].path(index),
        }

    def open_all(self, key: str, by_name: bool = False) -> list[ImageSource]:
        """Open the sources that option `key` names: one per scale in `self.scales`, or one if that list is empty.

        Args:
            by_name: whether the caller selects the images by name. The meta file is then not used.
        """
        root, kind = self.settings[key], self.settings["io_backend"]
        meta = None if by_name else self.settings["meta_info_file"]
        roots = [root.replace("{scale}", scale_text(scale)) for scale in self.scales] or [root]
        try:
            expected = self.settings["channels"], self.settings["value_range"]
            opened = {root: open_source(root, kind, meta, *expected, by_name) for root in dict.fromkeys(roots)}
            for source in opened.values():
                self._check_values(source)
        except LIIFError as error:
            raise LIIFError(f"{self.where}: {key}: {error}") from None
        return [opened[root] for root in roots]

    def _check_values(self, source: ImageSource) -> None:
        """Raise for the first image that does not match the options; with `on_corrupt: skip`, only if none matches.

        Without `value_range`, the first valid header ends the check. With `value_range`, images are decoded and checked
        until CHECKED_BYTES are reached. The remaining images are checked when they are used.
        """
        checked, first = 0, None
        for index in range(len(source)):
            try:
                source.header(index)
                checked += CHECKED_BYTES if source.value_range is None else source.read(index).nbytes
            except LIIFError as error:
                if self.settings.get("on_corrupt") != "skip":
                    raise
                first = first or error
            if checked >= CHECKED_BYTES:
                return
        if first is not None and not checked:
            raise first

    def sampler_size(self) -> int:
        """Return the number of samples in an epoch of BasicSR's EnlargedSampler, summed over all processes."""
        replicas = get_dist_info()[1]
        return math.ceil(len(self) * self.settings.get("dataset_enlarge_ratio", 1) / replicas) * replicas

    def _training_item(self, index: int) -> dict[str, Any]:
        rng = generator()
        if self.epoch_size % self.num_images:
            index = self._balanced(index, rng)
        lq, gt, path = self.training_pair(index, rng)
        lq, gt = augment([lq, gt], self.settings["use_hflip"], self.settings["use_rot"], rng)
        sample = sample_patch if self.settings["sample"] == "patch" else sample_pixels
        coord, colors = sample(gt, self.settings["sample_q"], rng)
        return {
            "lq": to_image_tensor(lq),
            "coord": coord,
            "cell": make_cell(gt.shape[:2])[None],
            "gt": colors,
            "scale": torch.tensor([gt.shape[0] / lq.shape[0], gt.shape[1] / lq.shape[1]]),
            "gt_path": path,
        }

    def _balanced(self, index: int, rng: np.random.Generator) -> int:
        """Replace an index of BasicSR's sampler so that all images are drawn equally often.

        In every epoch, the sampler yields each index `whole` times, and the first `extra` indices once more. These
        images would always be drawn more often than the others. Each of these `extra` indices is therefore replaced by
        one of the other indices, with the probability that makes all counts equal on average.
        """
        n = self.num_images
        whole, extra = divmod(self.epoch_size, n)
        if index >= extra or rng.random() * (whole + 1) < whole + extra / n:
            return index
        return extra + int((index + rng.random()) / extra * (n - extra))

    def _item_or_another(self, index: int) -> dict[str, Any]:
        """Return an item. If its image is corrupt, log and count it, and use another image drawn at random."""

        def candidates() -> Iterator[int]:
            yield index
            yield from torch.randperm(self.num_images).tolist()

        for candidate in candidates():
            try:
                return self._training_item(candidate)
            except LIIFError as error:
                self.skipped += 1
                found = f"skipped a corrupt image ({self.skipped} so far in this process)"
                logger.warning(f"{self.where}: {found}: {error}")
        raise LIIFError(f"{self.where}: all images are corrupt; `{PREPARE} folder FOLDER --check` lists the errors")

    def _scales(self) -> list[tuple[float, float]]:
        """Return the option `scales`, or a list with BasicSR's option `scale` if `scales` is not set."""
        scales, scale = self.settings["scales"], self.settings["scale"]
        if scales is None and scale is None:
            raise LIIFError(f"{self.where}: option 'scales' is missing; add it, for example scales: [2, 3, 4]")
        return scales or [scale]

    def check_sample_count(self, smallest_scale: tuple[float, float]) -> None:
        """Raise if the smallest crop has fewer pixels than `sample_q`."""
        count = self.settings["sample_q"]
        height, width = scaled_size(self.settings["lq_size"], smallest_scale)
        patch = self.settings["sample"] == "patch"
        pixels = min(height, width) ** 2 if patch else height * width
        if pixels < count:
            raise LIIFError(
                f"{self.where}: sample_q is {count}, but {'the largest square in ' * patch}the smallest crop has "
                f"{pixels} pixels; lower sample_q, or raise lq_size or the lowest scale"
            )

    def size(self, source: ImageSource, index: int) -> tuple[int, int] | None:
        """Return (H, W) of an image, or None if it is corrupt and `on_corrupt` is `skip`."""
        try:
            return source.size(index)
        except LIIFError as error:
            if self.settings.get("on_corrupt") == "skip":
                return None
            raise LIIFError(f"{self.where}: {error}") from None

    def check_sizes(self, source: ImageSource, smallest: tuple[int, int], options: str) -> None:
        """Raise for the first image smaller than `smallest` (H, W). `options` names the options that need this size."""
        for index in range(len(source)):
            size = self.size(source, index)
            if size is not None and (size[0] < smallest[0] or size[1] < smallest[1]):
                raise LIIFError(
                    f"{self.where}: {source.path(index)} is {size[0]}x{size[1]}, smaller than "
                    f"{smallest[0]}x{smallest[1]}, the minimum for {options}; remove the image or lower {options}"
                )
