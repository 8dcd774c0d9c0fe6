"""Self-ensemble of a teacher: average its outputs over orientations (flips, transpositions) of the input."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from liif_basicsr.rendering.orientation import ORIENTATIONS, Orientation


class SelfEnsemble(nn.Module):
    """Average a network's outputs over random orientations of the input.

    Args:
        net: a network that is called with (lq, coord, cell).
        count: number of orientations, which are drawn at random for each call.
    """

    def __init__(self, net: nn.Module, count: int) -> None:
        super().__init__()
        self.net, self.count = net, count

    def forward(self, lq: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """Return the averaged values (B, Q, D) at coordinates."""
        drawn = [ORIENTATIONS[k] for k in torch.randperm(len(ORIENTATIONS))[: self.count].tolist()]
        return torch.stack([self.net(*transform(lq, coord, cell, one)).float() for one in drawn]).mean(0)


def transform(
    lq: Tensor, coord: Tensor, cell: Tensor, orientation: Orientation
) -> tuple[Tensor, Tensor, Tensor]:
    """Transform images, coordinates and cells to another orientation."""
    y, x = coord.unbind(-1)
    y, x = -y if orientation.flip_y else y, -x if orientation.flip_x else x
    if orientation.transpose:
        return orientation.apply(lq), torch.stack((x, y), dim=-1), cell.flip(-1)
    return orientation.apply(lq), torch.stack((y, x), dim=-1), cell
