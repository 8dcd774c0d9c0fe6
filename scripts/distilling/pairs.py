"""A pool of training pairs, kept in device memory. Each pair includes a teacher's output."""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from distilling.photographs import CROP, Photographs, draw_scales, reduce
from distilling.pool import Pool
from liif_basicsr.devices import autocast, exact_float32
from liif_basicsr.models.self_ensemble import SelfEnsemble


class Shape(NamedTuple):
    """Sizes and scales of the pairs in a pool.

    lq_size: rows and columns of the low-resolution image.
    window: rows and columns of the high-resolution window that is used for training.
    low, high: the range of scales. `lq_size` * `high` must not exceed `CROP`.
    marks: scales that are drawn more often.
    """

    lq_size: int
    window: int
    low: float
    high: float
    marks: tuple[float, ...]


def coordinates(rows: Tensor, cols: Tensor) -> Tensor:
    """Combine the coordinates (B, P) of windows' rows and of their columns into pixel coordinates (B, P * P, 2)."""
    return torch.stack(torch.broadcast_tensors(rows[:, :, None], cols[:, None]), dim=-1).flatten(1, 2)


class Batch(NamedTuple):
    """A batch of pairs: low-resolution images, and windows of the high-resolution ones. Colors are in [0, 1].

    lq: low-resolution images (B, 3, h, h).
    rows, cols: coordinates (B, P) of the rows and columns of the windows, in [-1, 1].
    cell: size (B, 1) of a high-resolution pixel, along both axes.
    teacher, gt: windows (B, 3, P, P) of the teacher's output and of the original.
    """

    lq: Tensor
    rows: Tensor
    cols: Tensor
    cell: Tensor
    teacher: Tensor
    gt: Tensor


def oriented(image: Tensor, flags: Tensor) -> Tensor:
    """Flip and transpose square images (B, C, N, N).

    Args:
        flags: (3, B) bool, whether to flip each image along y, to flip it along x, and then to transpose it.
    """
    flip_y, flip_x, transpose = flags[:, :, None, None, None]
    image = torch.where(flip_y, image.flip(2), image)
    image = torch.where(flip_x, image.flip(3), image)
    return torch.where(transpose, image.mT, image)


class Pairs(Pool):
    """Pool of pairs: low-resolution images, and windows of the originals and of the teacher's outputs.

    Each pair has a random scale.

    Args:
        shape: see `Shape`.
        capacity: number of pairs to keep.
        photographs: source of the crops. A crop is downsampled by up to 2 before its low-resolution image is made.
        teacher: a network that is called with (lq, coord, cell). Its outputs for the eight orientations are averaged.
    """

    def __init__(self, shape: Shape, capacity: int, photographs: Photographs, teacher: nn.Module) -> None:
        super().__init__(capacity, photographs.pixels.device)
        self.shape, self.photographs, self.teacher = shape, photographs, SelfEnsemble(teacher, 8)
        h, p = shape.lq_size, shape.window
        self.lq = self.empty(3, h, h, dtype=torch.uint8)
        self.gt = self.empty(3, p, p, dtype=torch.uint8)
        self.answers = self.empty(3, p, p, dtype=torch.float16)
        self.corner, self.size = self.empty(2), self.empty()

    @torch.no_grad()
    def add(self, count: int) -> None:
        """Draw pairs, compute the teacher's output for them, and add them to the pool."""
        lq, gt, corner, size = self._draw(count)
        rows, cols, cell = self._coordinates(corner, size)
        precision = "float16" if self.device.type == "cuda" else "float32"
        with autocast(self.device, precision):
            output = self.teacher(lq / 255, coordinates(rows, cols), cell[..., None].expand(-1, 1, 2))
        answers = output.mT.unflatten(2, (self.shape.window, self.shape.window))
        self.store((self.lq, self.gt, self.answers, self.corner, self.size), (lq, gt, answers, corner, size))

    def _draw(self, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return low-resolution images, windows of the originals, the windows' corners, and the originals' sizes."""
        lq_size, window, low, high, marks = self.shape
        largest = round(high * lq_size)
        size = (draw_scales(count, low, high, marks, self.device) * lq_size).round().clamp(window, largest)
        more, reduced, *place = torch.rand(4, count, device=self.device)
        factor = 1 + ((CROP / size).clamp(max=2) - 1) * more * (reduced < 0.7)
        crop_size = (size * factor).round().clamp(max=CROP)
        with exact_float32(self.device):
            image = reduce(self.photographs.crop(crop_size), crop_size, size, largest)
            lq = reduce(image, size, torch.full_like(size, lq_size), lq_size)
        corner = (torch.stack(place, dim=1) * (size[:, None] - window + 1)).floor()
        rows, cols = (corner[:, k, None].long() + torch.arange(window, device=self.device) for k in (0, 1))
        index = torch.arange(count, device=self.device)[:, None, None]
        gt = image.permute(0, 2, 3, 1)[index, rows[:, :, None], cols[:, None]].permute(0, 3, 1, 2)
        return lq, gt, corner, size

    def _coordinates(self, corner: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the coordinates of the windows' rows and columns, (B, P) each, and their cell sizes (B, 1)."""
        cell = 2 / size[:, None]
        i = torch.arange(self.shape.window, device=self.device) + 0.5
        rows, cols = ((corner[:, k, None] + i) * cell - 1 for k in (0, 1))
        return rows, cols, cell

    def sample(self, count: int) -> Batch:
        """Draw a batch of `count` pairs from the pool, with random flips and transpositions."""
        batch = self._at(self.draw(count))
        flags = torch.rand(3, count, device=self.device) < 0.5
        flip_y, flip_x, transpose = flags
        rows = torch.where(flip_y[:, None], -batch.rows.flip(1), batch.rows)
        cols = torch.where(flip_x[:, None], -batch.cols.flip(1), batch.cols)
        rows, cols = (torch.where(transpose[:, None], b, a) for a, b in ((rows, cols), (cols, rows)))
        lq, teacher, gt = (oriented(image, flags) for image in (batch.lq, batch.teacher, batch.gt))
        return Batch(lq, rows, cols, batch.cell, teacher, gt)

    def _at(self, index: Tensor) -> Batch:
        coord = self._coordinates(self.corner[index], self.size[index])
        return Batch(self.lq[index].float() / 255, *coord, self.answers[index].float(), self.gt[index].float() / 255)

    def make(self, batches: int, count: int) -> Batch:
        """Return `batches` * `count` new pairs in one batch. The pool must be empty, and is empty again afterwards."""
        for _ in range(batches):
            self.add(count)
        made = self._at(torch.arange(self.made, device=self.device))
        self.made = 0
        return made
