"""TextureLoss: compares the amount of detail in each neighborhood, but not the position of the detail."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from liif_basicsr.metrics.psnr_liif import LUMA
from liif_basicsr.registration import register_in

# Laws' masks of three pixels (Textured Image Segmentation, 1980), scaled like derivatives: level, edge, spot.
LEVEL, EDGE, SPOT = (0.25, 0.5, 0.25), (-0.5, 0.0, 0.5), (-0.5, 1.0, -0.5)
FIRST_ORDER = ((LEVEL, EDGE), (EDGE, LEVEL))
SECOND_ORDER = ((LEVEL, SPOT), (SPOT, LEVEL), (EDGE, EDGE), (SPOT, SPOT))
# Added to mean squares so that the gradient of the square root is finite: (1 / 4 of an 8-bit level)^2.
EPSILON = 1e-6


def luma(images: Tensor) -> Tensor:
    """Return the full-range luma (B, 1, H, W) of RGB images (B, 3, H, W)."""
    # Use Python numbers, because a tensor of weights would be copied to the device in each step.
    weights = [weight / sum(LUMA) for weight in LUMA]
    red, green, blue = images.split(1, dim=1)
    return torch.add(torch.add(red * weights[0], green, alpha=weights[1]), blue, alpha=weights[2])


def mask_kernels(masks: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Tensor:
    """Return the kernels (n, 1, 3, 3) of separable masks, each a pair (along y, along x). They are exact in float32."""
    return torch.stack([torch.outer(torch.tensor(y), torch.tensor(x)) for y, x in masks])[:, None]


def detail(image: Tensor, kernels: Tensor) -> Tensor:
    """Filter an image (B, 1, H, W) with `mask_kernels` (n, 1, 3, 3): (B, n, H - 2, W - 2)."""
    return conv2d(image, kernels.to(image.dtype))


@register_in("LOSS_REGISTRY")
class TextureLoss(nn.Module):
    """Mean absolute difference between the texture energies of output and gt.

    If a texture cannot be predicted, a pixel loss is lowest for the mean of all possible textures, which is smooth.
    This loss requires the same amount of detail as in gt, but not at the same positions. It computes Laws' texture
    energies of the luma in windows, at full and at half resolution. The absolute differences between the energies of
    output and gt are averaged over the image and summed over window sizes and resolutions. Images that do not have
    three channels are compared channel by channel.

    Args:
        loss_weight: factor that multiplies the loss.
        windows: side lengths of the windows in pixels. Small windows localize edges; large windows let textures move
            further.
    """

    on_images = True

    def __init__(self, loss_weight: float = 1.0, windows: Sequence[int] = (3, 5)) -> None:
        super().__init__()
        self.loss_weight, self.windows = loss_weight, tuple(windows)
        self.register_buffer("kernels", mask_kernels(FIRST_ORDER + SECOND_ORDER), persistent=False)

    def forward(self, output: Tensor, gt: Tensor) -> Tensor:
        """Return the loss for two batches of images, (B, C, H, W) in [0, 1].

        Raises:
            ValueError: the images are too small for the largest window at half resolution.
        """
        if min(gt.shape[-2:]) < (needed := 2 * max(self.windows) + 4):
            raise ValueError(
                f"windows of {max(self.windows)} pixels need images of at least {needed}x{needed}; "
                f"set smaller windows, or datasets: train: sample_q: {needed**2} or more"
            )
        pairs = zip(self._energies(output), self._energies(gt), strict=True)
        return self.loss_weight * torch.stack([(own - true).abs().mean() for own, true in pairs]).sum()

    def _energies(self, images: Tensor) -> list[Tensor]:
        """Return the root mean square of the detail in each window, for each resolution and window size."""
        full = luma(images) if images.shape[1] == 3 else images.flatten(0, 1)[:, None]
        squares = [detail(image, self.kernels).square() for image in (full, avg_pool2d(full, 2))]
        return [(avg_pool2d(each, side, stride=2) + EPSILON).sqrt() for each in squares for side in self.windows]
