"""Inference-only MLPs that run on fused kernels."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fused_mlp(layers: Sequence[nn.Linear], like: Tensor, relu_first: bool = True) -> Callable[[Tensor], Tensor]:
    """Return a function that applies linear layers with ReLUs between them.

    It computes the same as the plain layers up to rounding.

    Args:
        layers: the layers in order.
        like: a tensor with the dtype and device of the inputs.
        relu_first: apply a ReLU before the first layer too.

    Returns:
        A function that maps (N, D) to (N, D_out). With `relu_first` it overwrites its input.
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
    """Return whether fused kernels may be used: on a CPU, without gradients, and outside torch.compile."""
    return like.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def relu_(x: Tensor) -> Tensor:
    """Apply ReLU in place. For bfloat16 the bits are clamped as int16, which is five times faster on a CPU."""
    if x.dtype == torch.bfloat16:
        x.view(torch.int16).clamp_min_(0)
        return x
    return x.relu_()


def fused_linear(layer: nn.Linear | nn.Conv2d, like: Tensor, relu: bool = False) -> Callable[[Tensor], Tensor]:
    """Return a function that applies a linear layer or 1x1 convolution, and then a ReLU if `relu` is true.

    The function maps (N, D) to (N, D_out). `like` is a tensor with the dtype and device of the inputs.
    """
    weight, bias = layer.weight.detach().flatten(1).to(like.dtype), layer.bias.detach().to(like.dtype)
    if relu and like.device.type not in ("cpu", "mps"):
        # On NVIDIA GPUs the kernel of the matrix product also adds the bias and applies the ReLU.
        return lambda x: torch.ops.aten._addmm_activation(bias, x, weight.T)
    if not _onednn_supports(like):
        return lambda x: relu_(F.linear(x, weight, bias)) if relu else F.linear(x, weight, bias)
    # oneDNN packs the weights once, and fuses bias and ReLU with the product. F.linear computes float32 with MKL, which
    # is slow on some processors, and it passes over memory again for bias and ReLU.
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    activation = "relu" if relu else "none"
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], "")


def _onednn_supports(like: Tensor) -> bool:
    """Return whether oneDNN can be used for tensors with the dtype and device of `like`.

    oneDNN's operators are internal to torch.compile and may change, so their existence is checked too.
    """
    ops = torch.ops.mkldnn
    if torch.compiler.is_compiling():
        return False  # a compiled graph accepts packed weights only as constants
    if like.device.type != "cpu" or not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    if not hasattr(ops, "_linear_pointwise") or not hasattr(ops, "_reorder_linear_weight"):
        return False
    return like.dtype == torch.float32 or (like.dtype == torch.bfloat16 and ops._is_mkldnn_bf16_supported())
