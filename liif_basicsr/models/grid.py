"""The grid of the input's pixels in an output, which a discriminator alone hardly sees, and people do."""
from __future__ import annotations

from torch import Tensor

# Places within an input pixel that are told apart, along each axis.
PLACES = 4


def grid_loss(error: Tensor, coord: Tensor, in_size: tuple[int, int]) -> Tensor:
    """How much errors repeat with the input's pixels: magnitude of a window's mean error at each place within them.

    Args:
        error: (B, Q, 3), output minus gt.
        coord: (B, Q, 2), (y, x) in [-1, 1].
        in_size: (h, w) of the inputs.

    Returns:
        The mean over windows, places and colours; a place that a window does not have counts as 0.
    """
    place = ((coord + 1) / 2 * coord.new_tensor(in_size) % 1 * PLACES).long().clamp_max(PLACES - 1)
    index = (place[..., 0] * PLACES + place[..., 1])[..., None]
    at = error.new_zeros(*index.shape[:2], PLACES**2).scatter_(2, index, 1)
    means = at.mT @ error / at.sum(1)[..., None].clamp_min(1)
    return means.abs().mean()
