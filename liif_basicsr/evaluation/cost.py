"""Count a network's multiply-adds per output pixel."""
from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from liif_basicsr.archs.base import ContinuousNetwork

Scale = tuple[float, float]

# Height and width of the input image.
SIDE = 64


def multiply_adds(net: ContinuousNetwork, scale: Scale) -> float:
    """Return the multiply-adds per output pixel at a scale (y, x), including the encoder.

    Counts convolutions and matrix products for a 64x64 input that is decoded as one tile. Operations on padding and in
    partly filled blocks of pixels are included.
    """
    size = (round(SIDE * scale[0]), round(SIDE * scale[1]))
    counter = FlopCounterMode(display=False, custom_mapping=_fused_operators())
    device = next(net.parameters()).device
    with torch.no_grad(), counter:
        net.render(torch.zeros(1, net.num_in_ch, SIDE, SIDE, device=device), size)
    return counter.get_total_flops() / 2 / math.prod(size)


def _fused_operators() -> dict[Any, Any]:
    """Return FLOP counters for operators that torch does not count: linear layers with a fused ReLU (CUDA, oneDNN)."""
    counters: dict[Any, Any] = {torch.ops.aten._addmm_activation: _addmm_flops}
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        counters[torch.ops.mkldnn._linear_pointwise] = _linear_flops
    return counters


def _addmm_flops(bias: Any, x: Any, weight: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Return the FLOPs of a linear layer from (N, D) to (N, E) with a bias; see `_linear_flops`."""
    return _linear_flops(x, weight, out_shape=out_shape)


def _linear_flops(x: Any, weight: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Return the FLOPs of a linear layer from (N, D) to (N, E); torch passes the shapes of operands and output."""
    return 2 * math.prod(x) * out_shape[-1]
