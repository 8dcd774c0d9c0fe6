"""The grid of the input's pixels in an output: a loss on detail that repeats from one of them to the next."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from liif_basicsr.losses.texture_loss import SECOND_ORDER, detail, luma

# Pixels of the windows in which detail is compared with itself, and of the steps between them.
WINDOW, STRIDE = 19, 4
# The smallest image that holds such a window, and the smallest input pixel whose repetition is more than smoothness.
SMALLEST, SMALLEST_PITCH = WINDOW + 2, 2
# Steps of one and of two input pixels, (along y, along x).
LAGS = ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2))
# Keeps the square root's slope finite where there is no detail at all.
EPSILON = 1e-12


def grid_loss(output: Tensor, gt: Tensor, pitch: Tensor) -> Tensor:
    """How much more the detail of an output repeats with the input's pixels than that of gt.

    What is asked for texture that the input does not show, a network of coordinates likes to draw the same way into
    each input pixel. The loss is the magnitude of the correlation of detail with itself, one or two input pixels
    further, as far as it exceeds gt's, times how strong the detail is; a mean over windows, summed over the steps.

    Args:
        output: (B, 3, H, W), in [0, 1].
        gt: the same shape.
        pitch: (B, 2), height and width of an input pixel in pixels of these; below `SMALLEST_PITCH` there is no loss.
    """
    fine, true = detail(luma(output), SECOND_ORDER), detail(luma(gt), SECOND_ORDER)
    strength = avg_pool2d(fine.detach().square(), WINDOW, STRIDE).sqrt()
    counts = (pitch.amin(1) > SMALLEST_PITCH).to(fine)[:, None, None, None]
    total = fine.new_zeros(())
    for lag in LAGS:
        step = pitch * pitch.new_tensor(lag)
        own, share = _correlation(fine, step)
        excess = (own.abs() - _correlation(true, step)[0].abs()).relu()
        total = total + (counts * share * strength * excess).mean()
    return total


def _correlation(fine: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Correlation of detail with itself a step further, in each window; and the share of it that has such detail."""
    further, inside = _further(fine, step)

    def mean(values: Tensor) -> Tensor:
        return avg_pool2d(values * inside, WINDOW, STRIDE)

    size = (mean(fine.square()) * mean(further.square()) + EPSILON).sqrt()
    return mean(fine * further) / size, mean(torch.ones_like(inside))


def _further(fine: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Detail (B, C, H, W) a step (B, 2) of any size further, interpolated, and where that lies inside (B, 1, H, W)."""
    height, width = fine.shape[-2:]
    y = torch.arange(height, device=fine.device)[:, None] + step[:, 0, None, None]
    x = torch.arange(width, device=fine.device) + step[:, 1, None, None]
    y, x = torch.broadcast_tensors(y, x)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1).to(fine)
    inside = (y <= height - 1) & (x <= width - 1)
    return grid_sample(fine, grid, padding_mode="border", align_corners=False), inside.to(fine)[:, None]
