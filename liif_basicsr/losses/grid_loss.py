"""GridLoss: penalizes detail that repeats from one pixel of the low-resolution input to the next."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample

from liif_basicsr.losses.texture_loss import SECOND_ORDER, detail, luma, mask_kernels
from liif_basicsr.registration import register_in

# Side of the correlation windows, and the stride between them, in pixels.
WINDOW, STRIDE = 19, 4
# Smallest image that contains such a window, and smallest size of an input pixel in output pixels. If input pixels are
# smaller, repetition cannot be distinguished from smoothness.
SMALLEST, SMALLEST_PITCH = WINDOW + 2, 2
# Shifts by one and two input pixels, (along y, along x).
LAGS = ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2))
# Keeps the gradient of the square root finite in flat regions.
EPSILON = 1e-12


@register_in("LOSS_REGISTRY")
class GridLoss(nn.Module):
    """Penalizes the output's detail if it repeats from one input pixel to the next more than gt's detail does.

    Coordinate-based networks tend to draw the same invented texture into every input pixel. The detail is then
    correlated with itself at shifts (lags) of one or two input pixels.

    For each lag, the loss compares the absolute correlation in the output with that in gt. If the output's is larger,
    the loss is the difference, weighted by the strength of the output's detail; otherwise it is 0. It is averaged over
    windows and summed over lags.

    Args:
        loss_weight: factor that multiplies the loss.
    """

    on_images = True
    inputs = ("output", "gt", "lq", "cell")

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.register_buffer("kernels", mask_kernels(SECOND_ORDER), persistent=False)
        self.register_buffer("lags", torch.tensor(LAGS, dtype=torch.float32), persistent=False)

    def forward(self, output: Tensor, gt: Tensor, lq: Tensor, cell: Tensor) -> Tensor:
        """Return the loss of a network's output, compared with gt.

        Args:
            output: (B, 3, H, W), in [0, 1].
            gt: the target, of the same shape.
            lq: (B, C, h, w), the input of the network.
            cell: (B, 1, 2) or (B, Q, 2), size of an output pixel.

        Raises:
            ValueError: the images are too small.
        """
        if min(gt.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"needs patches of at least {SMALLEST}x{SMALLEST} pixels; "
                f"set datasets: train: sample_q: {SMALLEST**2} or more"
            )
        pitch = torch.stack([2 / size / cell[:, 0, axis] for axis, size in enumerate(lq.shape[-2:])], dim=-1)
        return self.loss_weight * self.compare(output, gt, pitch)

    def compare(self, output: Tensor, gt: Tensor, pitch: Tensor) -> Tensor:
        """Compute the loss without `loss_weight`, given the size of the input pixels.

        Args:
            output: (B, 3, H, W), in [0, 1].
            gt: the target, of the same shape.
            pitch: (B, 2), height and width of an input pixel in output pixels. The loss of an image is 0 unless both
                are above `SMALLEST_PITCH`.
        """
        fine, true = (detail(luma(images), self.kernels) for images in (output, gt))
        strength = avg_pool2d(fine.detach().square(), WINDOW, STRIDE).sqrt()
        counts = (pitch.amin(1) > SMALLEST_PITCH).to(fine)[:, None, None, None]
        # Process all lags at once, because the time on a GPU depends on the number of operations.
        steps = self.lags.to(pitch.dtype)[:, None] * pitch
        own, share = _correlation(fine, steps)
        excess = (own.abs() - _correlation(true, steps)[0].abs()).relu()
        return (counts * share * strength * excess).mean(dim=(1, 2, 3, 4)).sum()


def _correlation(fine: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Correlate detail (B, C, H, W) with itself after shifts by `steps` (lags, B, 2), in pixels.

    Returns:
        (lags, B, C, h, w), the correlation in each window, and (lags, B, 1, h, w), the share of the window's pixels
        whose shifted position lies inside the image.
    """
    shifted, inside = _shift(fine, steps)

    def mean(values: Tensor) -> Tensor:
        pooled = avg_pool2d(values.flatten(0, 1), WINDOW, STRIDE)
        return pooled.view(*steps.shape[:2], *pooled.shape[1:])

    here = fine * inside
    size = (mean(here * fine) * mean(shifted.square() * inside) + EPSILON).sqrt()
    return mean(here * shifted) / size, mean(inside)


def _shift(fine: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Shift detail (B, C, H, W) by `steps` (lags, B, 2), in pixels, which need not be integers.

    Returns:
        (lags, B, C, H, W), the shifted detail, and (lags, B, 1, H, W), 1 where the shifted position lies inside the
        image and 0 elsewhere.
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
