"""A pool of training samples in device memory. The newest samples replace the oldest."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Pool:
    """Keeps the newest samples, and draws from them.

    Args:
        capacity: number of samples to keep.
        device: where they are kept.

    Attributes:
        made: number of samples that were added so far.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.capacity, self.device = capacity, device
        self.made = 0
        self.filled = torch.zeros((), device=device)  # read by a CUDA graph

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return memory for one value of this shape per sample."""
        return torch.zeros(self.capacity, *shape, dtype=dtype, device=self.device)

    def store(self, kept: Sequence[Tensor], new: Sequence[Tensor]) -> None:
        """Add samples.

        Args:
            kept: all tensors from `empty`.
            new: their values for the new samples, in the same order.
        """
        count = len(new[0])
        start = min(self.made % self.capacity, self.capacity - count)
        for old, values in zip(kept, new, strict=True):
            old[start : start + count] = values
        self.made += count
        self.filled.fill_(min(self.made, self.capacity))

    def draw(self, count: int) -> Tensor:
        """Return the positions of `count` random samples."""
        return (torch.rand(count, device=self.device) * self.filled).long()
