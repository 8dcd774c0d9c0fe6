"""Decode square windows with ContinuousShuffleSR in training, by dense products instead of single queries."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilling.pairs import Batch, coordinates


def decode_window(net: Any, batch: Batch) -> Tensor:
    """Decode the windows of a batch to images (B, 3, P, P) float32, with the same colors as `net.query`.

    Each row and column of a window is computed as a weighted sum over all features, where the weights of distant
    features are 0. For small images, this is faster than gathering the coefficients of each pixel.

    Args:
        net: a ContinuousShuffleSR.
        batch: the images and the coordinates of their windows.
    """
    decoder, features = net.decoder, batch.lq.shape[-1]
    r, d, p = decoder.num_basis, decoder.num_out_ch, batch.rows.shape[1]
    grid = F.pad(net.encode_and_prepare(batch.lq), (1, 1, 1, 1), mode="replicate")
    grid = grid.unflatten(1, (r, d, r)).permute(0, 4, 1, 2, 5, 3)  # (B, h + 2, R, D, w + 2, R)
    along_y = axis_weights(decoder.basis_y, batch.rows, batch.cell, features).to(grid.dtype)
    along_x = axis_weights(decoder.basis_x, batch.cols, batch.cell, features).to(grid.dtype)
    strips = along_y @ grid.flatten(3).flatten(1, 2)
    output = (strips.view(len(grid), p * d, -1) @ along_x.mT).view(-1, p, d, p).transpose(1, 2).float()
    values = net.denormalize(output.flatten(2).mT, batch.lq, coordinates(batch.rows, batch.cols))
    return values.mT.reshape(-1, d, p, p)


def axis_weights(basis: nn.Module, coord: Tensor, cell: Tensor, features: int) -> Tensor:
    """Return the weights (B, P, (features + 2) * R) of the features along an axis, for pixels at `coord` (B, P).

    Args:
        basis: the decoder's module with R basis functions along the axis.
        coord: coordinates of the pixels.
        cell: (B, 1), size of a pixel.
        features: number of features along the axis, without the border of one feature on each side.
    """
    position = (coord + 1) * (features / 2) - 0.5
    lower = position.floor()
    weight = basis(position - lower, cell * features)  # (B, P, 2, R)
    index = torch.arange(features + 2, device=coord.device)
    at = [((lower + 1 + k)[..., None] == index)[..., None] for k in (0, 1)]
    return (at[0] * weight[:, :, 0, None] + at[1] * weight[:, :, 1, None]).flatten(2)
