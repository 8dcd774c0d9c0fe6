"""TextureLoss: as much detail as gt has around each place, wherever exactly it lies."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from liif_basicsr.registration import register_in

LUMA = (0.299, 0.587, 0.114)
# Laws' masks of three pixels (Textured Image Segmentation, 1980), scaled to a derivative's: level, edge, spot.
LEVEL, EDGE, SPOT = (0.25, 0.5, 0.25), (-0.5, 0.0, 0.5), (-0.5, 1.0, -0.5)
FIRST_ORDER = ((LEVEL, EDGE), (EDGE, LEVEL))
SECOND_ORDER = ((LEVEL, SPOT), (SPOT, LEVEL), (EDGE, EDGE), (SPOT, SPOT))
# Added to mean squares, in [0, 1]: a quarter of a level of 8 bits, squared.
EPSILON = 1e-6


def luma(images: Tensor) -> Tensor:
    """The luminance (B, 1, H, W) of images (B, 3, H, W)."""
    return (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def detail(image: Tensor, masks: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Tensor:
    """What each of n masks (along y, along x) finds in an image (B, 1, H, W): (B, n, H - 2, W - 2)."""
    kernels = [torch.outer(image.new_tensor(y), image.new_tensor(x)) for y, x in masks]
    return conv2d(image, torch.stack(kernels)[:, None])


@register_in("LOSS_REGISTRY")
class TextureLoss(nn.Module):
    """Mean absolute difference between how much detail output and gt have in the windows around each place.

    A pixel loss's best answer to a texture that cannot be known is the mean of all that it might be, which is smooth.
    This one asks for as much of it as gt has, and leaves open where each stroke lies. It is the mean over places,
    summed over sizes of windows and over full and half resolution, of Laws' texture energies of the luminance.

    Args:
        loss_weight: what the loss is multiplied by.
        windows: sides of the windows, in pixels: small ones place edges, large ones leave textures more freedom.
    """

    def __init__(self, loss_weight: float = 1.0, windows: Sequence[int] = (3, 5)) -> None:
        super().__init__()
        self.loss_weight, self.windows = loss_weight, tuple(windows)

    def forward(self, output: Tensor, gt: Tensor) -> Tensor:
        """Two batches of images, (B, 3, H, W), in [0, 1].

        Raises:
            ValueError: they are too small for the largest window at half resolution.
        """
        if min(gt.shape[-2:]) < (needed := 2 * max(self.windows) + 4):
            raise ValueError(f"windows of {max(self.windows)} pixels need images of at least {needed}x{needed}")
        pairs = zip(self._energies(output), self._energies(gt), strict=True)
        return self.loss_weight * torch.stack([(own - true).abs().mean() for own, true in pairs]).sum()

    def _energies(self, images: Tensor) -> list[Tensor]:
        """Root mean squares of detail, for each resolution and size of windows."""
        full = luma(images)
        squares = [detail(image, FIRST_ORDER + SECOND_ORDER).square() for image in (full, avg_pool2d(full, 2))]
        return [(avg_pool2d(each, side, stride=2) + EPSILON).sqrt() for each in squares for side in self.windows]
