"""The first layer of an MLP on features and their neighbours, as a convolution of the feature grid."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def unfolded_linear(feat: Tensor, weight: Tensor, bias: Tensor, kernel_size: int) -> Tensor:
    """A linear layer of features, each joined by its neighbours, zero outside: (B, C, h, w) to (B, D, h, w).

    Args:
        weight: (D, C * kernel_size**2), of inputs in the order of `torch.nn.functional.unfold`, (c, ky, kx).
        bias: (D,).
    """
    # That order is a convolution's weight, flattened.
    weight = weight.unflatten(1, (feat.shape[1], kernel_size, kernel_size))
    weight, feat = (x.contiguous(memory_format=torch.channels_last) for x in (weight, feat))
    return F.conv2d(feat, weight, bias, padding=kernel_size // 2)
