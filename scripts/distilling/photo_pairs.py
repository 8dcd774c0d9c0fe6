"""A pool of pairs of a degraded crop and a target made by the teacher, kept in device memory."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from distilling.pairs import Batch, oriented
from distilling.photographs import resampling
from distilling.pool import Pool
from liif_basicsr.data.prepare.distillation import COLOR_SIGMA, DistillationPairs
from liif_basicsr.devices import autocast, exact_float32
from liif_basicsr.errors import LIIFError

PLAIN_EVERY = 7  # one of this many pairs shows a single color or a gradient


class Window(NamedTuple):
    """Size and scales of the windows that a training step uses.

    size: rows and columns of the window in the high-resolution image.
    low, high: the range of scales.
    share: share of the windows at the highest scale.
    """

    size: int
    low: float
    high: float
    share: float


class Crops(Dataset):
    """Degraded crops as tensors: the input and the original (3, h, w) uint8, whether the teacher is needed, and plain.

    Args:
        photographs, plain: make pairs of photographs and pairs of plain images.
    """

    def __init__(self, photographs: DistillationPairs, plain: DistillationPairs) -> None:
        self.pairs = photographs, plain

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, bool, bool] | LIIFError:
        plain = number % PLAIN_EVERY == 0
        try:
            crop = self.pairs[plain].crop(number)
        except LIIFError as error:  # returned, because DataLoader adds a traceback to the message of a raised error
            return error
        lq, gt = (torch.tensor(image).permute(2, 0, 1) for image in (crop.lq, crop.gt))  # copies: may be read-only
        return lq, gt, crop.needs_teacher, plain


def collate(crops: list[Any]) -> Any:
    """Combine crops into tensors, or return the first error among them."""
    errors = [crop for crop in crops if isinstance(crop, LIIFError)]
    return errors[0] if errors else default_collate(crops)


def use_one_thread(worker: int) -> None:
    """Keep OpenCV from starting threads in a worker process: there is already one process per core."""
    cv2.setNumThreads(0)


class PhotoPairs(Pool):
    """Pool of pairs: degraded crops, and targets with the teacher's detail and the colors of the crop.

    Args:
        crops: source of the crops.
        workers: number of processes that make them; 0 for none.
        count: number of crops that are made at a time.
        teacher: a network that maps images (B, 3, h, w) to images of `scale` times their size.
        scale: the teacher's upscaling factor.
        capacity: number of pairs to keep.
        device: device of the pool and of the teacher.
    """

    def __init__(
        self, crops: Crops, workers: int, count: int, teacher: Any, scale: int, capacity: int, device: torch.device
    ) -> None:
        super().__init__(capacity, device)
        self.teacher = teacher
        self.crops: Iterator[Any] = iter(DataLoader(
            crops, count, sampler=range(10**9), num_workers=workers, prefetch_factor=6 if workers else None,
            collate_fn=collate, multiprocessing_context="forkserver" if workers else None,
            worker_init_fn=use_one_thread,
        ))  # fmt: skip
        h = crops.pairs[0].lq_size
        self.lq = self.empty(3, h, h, dtype=torch.uint8)
        self.target = self.empty(3, h * scale, h * scale, dtype=torch.uint8)
        self.plain = self.empty(dtype=torch.bool)

    @torch.no_grad()
    def add(self) -> None:
        """Make the targets of the next crops, and add the pairs to the pool.

        Raises:
            LIIFError: a photograph is corrupt.
        """
        crops = next(self.crops)
        if isinstance(crops, LIIFError):
            raise crops
        lq, gt, needs_teacher, plain = (tensor.to(self.device, non_blocking=True) for tensor in crops)
        with autocast(self.device, "float16" if self.device.type == "cuda" else "float32"):
            output = self.teacher((lq / 255).contiguous(memory_format=torch.channels_last))
        output = with_colors_of(lq.float(), output.float().clamp(0, 1) * 255)
        target = torch.where(needs_teacher[:, None, None, None], output, gt.float()).round().clamp(0, 255)
        self.store((self.lq, self.target, self.plain), (lq, target, plain))

    def sample(self, count: int, window: Window) -> tuple[Batch, Tensor]:
        """Draw windows of `count` random pairs, with random flips and transpositions.

        Half of the windows of plain images lie in a corner of the image, so that its border counts.

        Returns:
            The batch, whose `gt` is the target too, and (count,) whether each image is plain.
        """
        index = self.draw(count)
        lq, target, plain = self.lq[index], self.target[index], self.plain[index]
        flags = torch.rand(3, count, device=self.device) < 0.5
        lq, target = (oriented(image, flags).float() / 255 for image in (lq, target))
        h, length = lq.shape[-1], target.shape[-1]
        at_most, even = torch.rand(2, count, device=self.device)
        scale = torch.where(at_most < window.share, window.high, window.low + (window.high - window.low) * even)
        size = (h * scale).round().clamp(min=window.size)
        place, corner = torch.rand(2, count, 2, device=self.device)
        place = torch.where((plain & (corner[:, 0] < 0.5))[:, None], place.round(), place)
        first = (place * (size[:, None] - window.size + 1)).floor().minimum(size[:, None] - window.size)
        pixels = first[:, :, None] + torch.arange(window.size, device=self.device) + 0.5
        with exact_float32(self.device):
            whole = torch.full_like(size, length)
            rows, cols = (resampling(pixels[:, k], length / size, whole, length) for k in (0, 1))
            image = (rows[:, None] @ target @ cols[:, None].mT).clamp(0, 1)
        coord = pixels * 2 / size[:, None, None] - 1
        return Batch(lq, coord[:, 0], coord[:, 1], 2 / size[:, None], image, image), plain


def with_colors_of(lq: Tensor, output: Tensor) -> Tensor:
    """Do the same as `liif_basicsr.data.prepare.distillation.with_colors_of`, for float images (B, 3, h, w)."""
    radius = round(4 * COLOR_SIGMA)
    kernel = torch.exp(-(torch.arange(-radius, radius + 1, device=lq.device) ** 2) / (2 * COLOR_SIGMA**2))
    kernel = (kernel / kernel.sum()).expand(lq.shape[1], 1, 1, -1)
    drift = lq - F.interpolate(output, lq.shape[2:], mode="area")
    with exact_float32(lq.device):
        drift = F.pad(drift, [radius] * 4, mode="reflect")
        drift = F.conv2d(F.conv2d(drift, kernel, groups=lq.shape[1]), kernel.mT, groups=lq.shape[1])
    return output + F.interpolate(drift, output.shape[2:], mode="bilinear")
