"""TotalVariationLoss: penalizes detail that a pixel of the training scales does not show."""
from __future__ import annotations

from torch import Tensor, nn

from liif_basicsr.registration import register_in


@register_in("LOSS_REGISTRY")
class TotalVariationLoss(nn.Module):
    """Mean absolute gradient of a heat field at time 0, for infinitely small pixels (Thera, section 3).

    The pixel loss sees blurred fields only, so it leaves frequencies open that matter at larger scales. Needs the
    network `Thera`.

    Args:
        loss_weight: factor of the loss. The official code has 1e-4, because its colors are in [-1, 1].
    """

    inputs = ("gradient",)

    def __init__(self, loss_weight: float = 2e-4) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, gradient: Tensor) -> Tensor:
        """Average a gradient (B, Q, D, 2), see `Thera.forward`."""
        return self.loss_weight * gradient.abs().mean()
