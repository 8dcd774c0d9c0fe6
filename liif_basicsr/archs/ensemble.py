"""Parts that several decoders share: the local ensemble, and linear layers on unfolded features or coordinates."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Added to each corner's area, as in the official implementations, so that the sum of the four areas is never 0.
EPS_AREA = 1e-9


def unfolded_linear(feat: Tensor, weight: Tensor, bias: Tensor, kernel_size: int) -> Tensor:
    """Apply a linear layer to the neighborhood of each feature, with zeros outside the grid.

    The result equals `unfold` followed by the linear layer. It is computed as a convolution, which saves memory.

    Args:
        feat: (B, C, h, w).
        weight: (D, C * kernel_size**2). The columns are in the order of `torch.nn.functional.unfold`: (c, ky, kx).
        bias: (D,).
        kernel_size: side of the neighborhood in features, an odd number.

    Returns:
        (B, D, h, w).
    """
    # The columns of a flattened convolution weight are in the same order.
    weight = weight.view(len(weight), feat.shape[1], kernel_size, kernel_size)
    weight, feat = (x.contiguous(memory_format=torch.channels_last) for x in (weight, feat))
    return F.conv2d(feat, weight, bias, padding=kernel_size // 2)


def linear_of_two(x: Tensor, weight: Tensor) -> Tensor:
    """Apply a linear layer without bias to pairs (y, x), such as coordinates or cells.

    Autocast does not lower the precision.

    Args:
        x: (..., 2).
        weight: (D, 2).

    Returns:
        (..., D).
    """
    return x[..., :1] * weight[:, 0] + x[..., 1:] * weight[:, 1]


def gather(grid: Tensor, index: Tensor) -> Tensor:
    """Return the features at flat indices from `Queries.corners`: (B, h, w, D) to (*index.shape, D)."""
    return grid.flatten(0, 2).index_select(0, index.flatten()).view(*index.shape, grid.shape[-1])


def ensemble_weights(rel_y: Tensor, rel_x: Tensor) -> Tensor:
    """Return the weights of the corners: each is the diagonally opposite corner's share of the total area.

    Args:
        rel_y, rel_x: (S, 1, ...) and (1, S, ...), relative coordinates on each of S sides, see `Queries.corners`.

    Returns:
        (S * S, ...).

    Source: LIIF, equation 4.
    """
    area = ((rel_y * rel_x).abs() + EPS_AREA).flatten(0, 1)
    return area.flip(0) / area.sum(0)


def ensemble_mean(outputs: Tensor, rel_y: Tensor, rel_x: Tensor) -> Tensor:
    """Average the predictions of the corners, weighted by `ensemble_weights`.

    Args:
        outputs: (S, S, ..., D), the predictions.
        rel_y, rel_x: (S, 1, ...) and (1, S, ...), relative coordinates on each of S sides, see `Queries.corners`. They
            broadcast to the shape of `outputs` without D.

    Returns:
        (..., D).
    """
    weight = ensemble_weights(rel_y, rel_x)[..., None]
    first, *others = zip(outputs.flatten(0, 1), weight, strict=True)
    mean = first[0] * first[1]
    for corner in others:
        mean = torch.addcmul(mean, *corner)
    return mean
