"""Interpolation along an axis, band by band: the outputs between two neighbouring features share these two."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Bands:
    """Outputs along one axis, each a weighted sum over the two features around it and their R channels.

    The outputs between the same two features make a band, so that a batched product serves for a gather.

    Args:
        lower: (N,) ascending; the feature below each output, counted from the first of what will be contracted.
        weight: (N, 2, R), of the feature below and the one above.
    """

    def __init__(self, lower: np.ndarray, weight: Tensor) -> None:
        self.lower, self.weight = lower, weight.flatten(1)

    def contract(self, grid: Tensor, part: slice) -> Tensor:
        """Rows: contiguous (h, R, K) to (n, K), for a part of the outputs."""
        _, r, k = grid.shape
        first, weight, slot = self._slots(part)
        pairs = grid.as_strided((len(weight), 2 * r, k), (r * k, k, 1), first * r * k)
        return torch.bmm(weight, pairs).flatten(0, 1)[slot]

    def contract_last(self, strip: Tensor, part: slice) -> Tensor:
        """Columns: contiguous (M, w, R) to (M, n), for a part of the outputs."""
        m, w, r = strip.shape
        first, weight, slot = self._slots(part)
        pairs = strip.as_strided((len(weight), m, 2 * r), (r, w * r, 1), first * r)
        return torch.bmm(pairs, weight.mT).movedim(0, 1).flatten(1)[:, slot]

    def _slots(self, part: slice) -> tuple[int, Tensor, Tensor]:
        """The first band of a part, the weights (bands, longest band, 2 R), and where in these each output is."""
        lower = self.lower[part]
        first = int(lower[0])
        starts = np.flatnonzero(np.diff(lower, prepend=first - 1))
        counts = np.diff(starts, append=len(lower))
        longest = int(counts.max())
        place = np.arange(len(lower)) - np.repeat(starts, counts)
        slot = torch.from_numpy((lower - first) * longest + place).to(self.weight.device)
        bands = int(lower[-1]) - first + 1
        weight = self.weight.new_zeros(bands * longest, self.weight.shape[1])
        weight[slot] = self.weight[part]
        return first, weight.view(bands, longest, -1), slot
