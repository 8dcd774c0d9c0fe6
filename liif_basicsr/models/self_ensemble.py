"""The self-ensemble of a teacher: its outputs averaged over flips and transpositions of the input."""
from __future__ import annotations

import torch
from torch import Tensor, nn


class SelfEnsemble(nn.Module):
    """Average a network's outputs over symmetries of the input (Lim et al., EDSR, CVPRW 2017, section 3.4).

    Args:
        net: a network that is called with (lq, coord, cell).
        count: number of the eight symmetries, drawn at random for each call.
    """

    def __init__(self, net: nn.Module, count: int) -> None:
        super().__init__()
        self.net, self.count = net, count

    def forward(self, lq: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """Return the averaged values (B, Q, D) at coordinates."""
        drawn = torch.randperm(8)[: self.count].tolist()
        return torch.stack([self.net(*transform(lq, coord, cell, k)).float() for k in drawn]).mean(0)


def transform(lq: Tensor, coord: Tensor, cell: Tensor, symmetry: int) -> tuple[Tensor, Tensor, Tensor]:
    """Flip and transpose images, and the coordinates and cells with them.

    Args:
        symmetry: from 0 to 7; bit 0 flips y, bit 1 flips x, bit 2 transposes.
    """
    for axis in (0, 1):
        if symmetry & (1 << axis):
            sign = coord.new_ones(2)
            sign[axis] = -1
            lq, coord = lq.flip(2 + axis), coord * sign
    if symmetry & 4:
        lq, coord, cell = lq.mT, coord.flip(-1), cell.flip(-1)
    return lq, coord, cell
