"""The local ensemble and the first MLP layer on unfolded features, shared by several decoders."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# The official implementations add this to a corner's area, so that the four areas never sum to 0.
EPS_AREA = 1e-9


def unfolded_linear(feat: Tensor, weight: Tensor, bias: Tensor, kernel_size: int) -> Tensor:
    """Apply a linear layer to unfolded features (zero padding) as a convolution: (B, C, h, w) to (B, D, h, w).

    Args:
        weight: (D, C * kernel_size**2), inputs in the order of `torch.nn.functional.unfold`, (c, ky, kx).
        bias: (D,).
    """
    # A flattened convolution weight has the same order.
    weight = weight.view(len(weight), feat.shape[1], kernel_size, kernel_size)
    weight, feat = (x.contiguous(memory_format=torch.channels_last) for x in (weight, feat))
    return F.conv2d(feat, weight, bias, padding=kernel_size // 2)


def linear_of_two(x: Tensor, weight: Tensor) -> Tensor:
    """Apply a linear layer to coordinates or cells in their own precision, also under autocast.

    Args:
        x: (..., 2).
        weight: (D, 2).

    Returns:
        (..., D).
    """
    return x[..., :1] * weight[:, 0] + x[..., 1:] * weight[:, 1]


def gather(grid: Tensor, index: Tensor) -> Tensor:
    """Return the features (B, h, w, D) at flat indices from `Queries.corners`: (*index.shape, D)."""
    return grid.flatten(0, 2).index_select(0, index.flatten()).view(*index.shape, grid.shape[-1])


def ensemble_weights(rel_y: Tensor, rel_x: Tensor) -> Tensor:
    """Return the weights of the corners, the share of the diagonally opposite corner's area: (sides * sides, ...).

    Args:
        rel_y, rel_x: (sides, 1, ...) and (1, sides, ...), see `corner_index`.

    Source: LIIF, equation 4.
    """
    area = ((rel_y * rel_x).abs() + EPS_AREA).flatten(0, 1)
    return area.flip(0) / area.sum(0)


def ensemble_mean(outputs: Tensor, rel_y: Tensor, rel_x: Tensor) -> Tensor:
    """Average the corners, each weighted by the area of the diagonally opposite corner.

    Args:
        outputs: (sides, sides, ..., D).
        rel_y, rel_x: (sides, 1, ...) and (1, sides, ...), see `corner_index`; broadcast to the outputs without D.

    Returns:
        (..., D).
    """
    weight = ensemble_weights(rel_y, rel_x)[..., None]
    first, *others = zip(outputs.flatten(0, 1), weight, strict=True)
    mean = first[0] * first[1]
    for corner in others:
        mean = torch.addcmul(mean, *corner)
    return mean
