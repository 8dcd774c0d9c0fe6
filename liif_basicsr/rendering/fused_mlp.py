"""An MLP without gradients, as fast as the processor has it."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fused_mlp(layers: Sequence[nn.Linear], like: Tensor, relu_first: bool = True) -> Callable[[Tensor], Tensor]:
    """Pack linear layers into one function, with ReLUs between them; equal to the plain form to rounding.

    Args:
        layers: all of an MLP's, or what follows its first one, in order.
        like: of the dtype and on the device of what will be fed.
        relu_first: there is a ReLU before the first of them, too.

    Returns:
        A function of (N, D), which it overwrites if relu_first, to (N, D_out).
    """
    steps = [fused_linear(layer, like, relu=k < len(layers) - 1) for k, layer in enumerate(layers)]

    def run(x: Tensor) -> Tensor:
        if steps and relu_first:
            relu_(x)
        for step in steps:
            x = step(x)
        return x

    return run


def can_fuse(like: Tensor) -> bool:
    """Whether what follows may be fused: on a CPU, where neither gradients nor a graph of operations are wanted."""
    return like.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def relu_(x: Tensor) -> Tensor:
    """ReLU in place. A bfloat16 is negative where its bits, read as an integer, are: five times as fast on a CPU."""
    if x.dtype == torch.bfloat16:
        x.view(torch.int16).clamp_min_(0)
        return x
    return x.relu_()


def fused_linear(layer: nn.Linear | nn.Conv2d, like: Tensor, relu: bool = False) -> Callable[[Tensor], Tensor]:
    """Pack one layer, linear or a 1x1 convolution, and, if wanted, the ReLU after it: (N, D) to (N, D_out)."""
    weight, bias = layer.weight.detach().flatten(1).to(like.dtype), layer.bias.detach().to(like.dtype)
    if not _onednn_has(like):
        return lambda x: relu_(F.linear(x, weight, bias)) if relu else F.linear(x, weight, bias)
    # oneDNN, weights packed once and the ReLU inside: torch's own F.linear runs float32 on MKL, which some processors
    # do not like, and passes over memory once more for each of bias and ReLU.
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    activation = "relu" if relu else "none"
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], "")


def _onednn_has(like: Tensor) -> bool:
    """Whether oneDNN has this dtype here. Its operators are torch.compile's, without a promise to stay."""
    ops = torch.ops.mkldnn
    if like.device.type != "cpu" or not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    if not hasattr(ops, "_linear_pointwise") or not hasattr(ops, "_reorder_linear_weight"):
        return False
    return like.dtype == torch.float32 or (like.dtype == torch.bfloat16 and ops._is_mkldnn_bf16_supported())
