"""GridLoss: penalizes detail that repeats with the pixels of the low-resolution input."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample

from liif_basicsr.losses.texture_loss import SECOND_ORDER, detail, luma, mask_kernels
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

    Coordinate-based networks tend to draw invented texture the same way into each input pixel.

    For each lag: the absolute correlation of detail with itself, minus gt's, if positive, weighted by the strength of
    the detail; averaged over windows and summed over lags.

    Args:
        loss_weight: factor of the loss.
    """

    on_images = True
    inputs = ("output", "gt", "lq", "cell")

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.register_buffer("kernels", mask_kernels(SECOND_ORDER), persistent=False)
        self.register_buffer("lags", torch.tensor(LAGS, dtype=torch.float32), persistent=False)

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
        pitch = torch.stack([2 / size / cell[:, 0, axis] for axis, size in enumerate(lq.shape[-2:])], dim=-1)
        return self.loss_weight * self.compare(output, gt, pitch)

    def compare(self, output: Tensor, gt: Tensor, pitch: Tensor) -> Tensor:
        """Compute how much more the output's detail repeats with the input's pixels than gt's does.

        Args:
            output: (B, 3, H, W), in [0, 1].
            gt: the same shape.
            pitch: (B, 2), height and width of an input pixel in output pixels. Below `SMALLEST_PITCH` the loss is 0.
        """
        fine, true = (detail(luma(images), self.kernels) for images in (output, gt))
        strength = avg_pool2d(fine.detach().square(), WINDOW, STRIDE).sqrt()
        counts = (pitch.amin(1) > SMALLEST_PITCH).to(fine)[:, None, None, None]
        # All lags at once: the time on a GPU depends on the number of operations.
        steps = self.lags.to(pitch.dtype)[:, None] * pitch
        own, share = _correlation(fine, steps)
        excess = (own.abs() - _correlation(true, steps)[0].abs()).relu()
        return (counts * share * strength * excess).mean(dim=(1, 2, 3, 4)).sum()


def _correlation(fine: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Correlate detail (B, C, H, W) with itself, shifted by steps (lags, B, 2).

    Returns:
        (lags, B, C, h, w), the correlation in each window, and (lags, B, 1, h, w), the share of pixels inside.
    """
    shifted, inside = _shift(fine, steps)

    def mean(values: Tensor) -> Tensor:
        pooled = avg_pool2d(values.flatten(0, 1), WINDOW, STRIDE)
        return pooled.view(*steps.shape[:2], *pooled.shape[1:])

    here = fine * inside
    size = (mean(here * fine) * mean(shifted.square() * inside) + EPSILON).sqrt()
    return mean(here * shifted) / size, mean(inside)


def _shift(fine: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Shift detail (B, C, H, W) by fractional steps (lags, B, 2), and mark the pixels inside the image.

    Returns:
        (lags, B, C, H, W) and (lags, B, 1, H, W).
    """
    height, width = fine.shape[-2:]
    y = torch.arange(height, device=fine.device)[:, None] + steps[..., 0, None, None]
    x = torch.arange(width, device=fine.device) + steps[..., 1, None, None]
    y, x = torch.broadcast_tensors(y, x)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1).to(fine)
    inside = (y <= height - 1) & (x <= width - 1)
    many = fine.expand(len(steps), *fine.shape).flatten(0, 1)
    shifted = grid_sample(many, grid.flatten(0, 1), padding_mode="border", align_corners=False)
    return shifted.view(len(steps), *fine.shape), inside.to(fine)[:, :, None]
