"""A loss on texture whose exact place cannot be known."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from liif_basicsr.utils.errors import LIIFError


class SpectralLoss(nn.Module):
    """L1 between the magnitudes of local spectra: how much texture there is, wherever its crests lie.

    A pixel loss is least for the mean of all textures that could be there, which is smooth. Magnitudes have no phase:
    an output with the target's grain in another place costs less than one without any.

    Args:
        loss_weight: factor of the loss.
        size: edge of the blocks, in pixels; they overlap by half and fade out towards their edges.

    Raises:
        LIIFError: a size that is odd or below 4, or windows that are smaller than a block.
    """

    weight: Tensor

    def __init__(self, loss_weight: float = 1.0, size: int = 16) -> None:
        super().__init__()
        if size < 4 or size % 2:
            raise LIIFError(f"SpectralLoss: size: must be an even number of at least 4, not {size}")
        self.loss_weight, self.size = loss_weight, size
        hann = torch.hann_window(size)
        self.register_buffer("weight", torch.outer(hann, hann), persistent=False)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of images (B, C, H, W)."""
        if min(pred.shape[-2:]) < self.size:
            raise LIIFError(f"SpectralLoss: images of {pred.shape[-2]}x{pred.shape[-1]} are below its size {self.size}")
        return self.loss_weight * (self._magnitudes(pred) - self._magnitudes(target)).abs().mean()

    def _magnitudes(self, images: Tensor) -> Tensor:
        """(B, C, blocks along y, blocks along x, size, size // 2 + 1)."""
        step = self.size // 2
        blocks = images.float().unfold(2, self.size, step).unfold(3, self.size, step)
        spectra = torch.fft.rfft2(blocks * self.weight, norm="ortho")
        # Not abs(), whose gradient is undefined where a magnitude is 0, as in a flat image.
        return (spectra.real.square() + spectra.imag.square() + 1e-12).sqrt()
