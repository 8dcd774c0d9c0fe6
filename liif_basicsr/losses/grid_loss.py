"""GridLoss: penalizes detail that repeats with the pixels of the low-resolution input."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample

from liif_basicsr.losses.texture_loss import SECOND_ORDER, detail, luma
from liif_basicsr.registration import register_in

# Side of the correlation windows, and the stride between them, in pixels.
WINDOW, STRIDE = 19, 4
# Smallest image that holds such a window, and smallest input pixel whose repetition is distinct from smoothness.
SMALLEST, SMALLEST_PITCH = WINDOW + 2, 2
# Shifts by one and two input pixels, (along y, along x).
LAGS = ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2))
# Keeps the gradient of the square root finite in flat regions.
EPSILON = 1e-12


@register_in("LOSS_REGISTRY")
class GridLoss(nn.Module):
    """Excess, over gt, of the output's correlation with itself one or two input pixels away.

    Networks of coordinates tend to draw invented texture the same way into each input pixel. See `grid_loss`.

    Args:
        loss_weight: factor of the loss.
    """

    on_images = True
    inputs = ("output", "gt", "lq", "cell")

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, output: Tensor, gt: Tensor, lq: Tensor, cell: Tensor) -> Tensor:
        """Compare images (B, 3, H, W) that a network made from `lq` (B, C, h, w) with cells (B, 1 or Q, 2).

        Raises:
            ValueError: the images are too small.
        """
        if min(gt.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"needs windows of at least {SMALLEST}x{SMALLEST}; "
                f"set datasets: train: sample_q: {SMALLEST**2} or more"
            )
        cell = cell[:, 0]
        return self.loss_weight * grid_loss(output, gt, 2 / cell.new_tensor(lq.shape[-2:]) / cell)


def grid_loss(output: Tensor, gt: Tensor, pitch: Tensor) -> Tensor:
    """Compute how much more the output's detail repeats with the input's pixels than gt's does.

    For each lag: the absolute correlation of detail with itself, minus gt's, if positive, weighted by the
    strength of the detail; averaged over windows and summed over lags.

    Args:
        output: (B, 3, H, W), in [0, 1].
        gt: the same shape.
        pitch: (B, 2), height and width of an input pixel in output pixels. Below `SMALLEST_PITCH` the loss is 0.
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
    """Return, for each window, the correlation of detail with its shifted self, and the share of pixels inside."""
    shifted, inside = _shift(fine, step)

    def mean(values: Tensor) -> Tensor:
        return avg_pool2d(values * inside, WINDOW, STRIDE)

    size = (mean(fine.square()) * mean(shifted.square()) + EPSILON).sqrt()
    return mean(fine * shifted) / size, mean(torch.ones_like(inside))


def _shift(fine: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Shift detail (B, C, H, W) by fractional steps (B, 2), and mark the pixels inside the image (B, 1, H, W)."""
    height, width = fine.shape[-2:]
    y = torch.arange(height, device=fine.device)[:, None] + step[:, 0, None, None]
    x = torch.arange(width, device=fine.device) + step[:, 1, None, None]
    y, x = torch.broadcast_tensors(y, x)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1).to(fine)
    inside = (y <= height - 1) & (x <= width - 1)
    return grid_sample(fine, grid, padding_mode="border", align_corners=False), inside.to(fine)[:, None]
