"""TotalVariationLoss: penalizes detail that is too fine to be visible at the training scales."""
from __future__ import annotations

from torch import Tensor, nn

from liif_basicsr.registration import register_in


@register_in("LOSS_REGISTRY")
class TotalVariationLoss(nn.Module):
    """Mean absolute spatial gradient of Thera's field before any blur, that is, for infinitely small pixels.

    Thera blurs its field over the area of each output pixel. A pixel loss compares blurred values only, so it does not
    constrain high frequencies, which become visible at larger scales. Requires the network `Thera`.

    Source: Thera, section 3.

    Args:
        loss_weight: factor that multiplies the loss. The default is twice the official 1e-4, because colors are in
            [0, 1] here and in [-1, 1] in the official code.
    """

    inputs = ("gradient",)

    def __init__(self, loss_weight: float = 2e-4) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, gradient: Tensor) -> Tensor:
        """Return the mean absolute gradient, times `loss_weight`. See `Thera.forward` for `gradient`, (B, Q, D, 2)."""
        return self.loss_weight * gradient.abs().mean()
