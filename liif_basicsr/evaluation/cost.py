"""What a network costs: multiply-adds for each pixel of its output, counted while it renders."""
from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

# Input pixels along an edge of the image that is rendered for the count.
SIDE = 64


def multiply_adds(net: nn.Module, scale: float) -> float:
    """Multiply-adds for each output pixel, encoder included, at a scale.

    Counted are convolutions and matrix products, in an image of 64x64 that is decoded as one tile; padding, and blocks
    that are not full, count as well.
    """
    size = (round(SIDE * scale), round(SIDE * scale))
    counter = FlopCounterMode(display=False, custom_mapping=_fused_operators())
    device = next(net.parameters()).device
    with torch.no_grad(), counter:
        net.render(torch.zeros(1, 3, SIDE, SIDE, device=device), size)
    return counter.get_total_flops() / 2 / math.prod(size)


def _fused_operators() -> dict[Any, Any]:
    """Counts of operators that torch does not count by itself: oneDNN's linear layers with their ReLU."""
    operators = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return {} if operators is None else {operators: _linear_flops}


def _linear_flops(x: Any, weight: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Of (N, D) to (N, E): the shapes of operands and output are all that is known."""
    return 2 * math.prod(x) * out_shape[-1]
