"""LIIF's decoder in plain float64 NumPy, written from the paper (section 3), one query at a time.

It shares no code and no idea of the fast form with the product: no projection, no gathering, no blocks.
"""
import numpy as np


def centers(n):
    return -1 + (2 * np.arange(n) + 1) / n


def unfolded(feat, i, j):
    """The 3x3 neighbourhood of feature (i, j), zero outside, channel-major: (C * 9,)."""
    padded = np.pad(feat, ((0, 0), (1, 1), (1, 1)))
    return padded[:, i : i + 3, j : j + 3].reshape(-1)


def mlp(x, layers):
    for k, (weight, bias) in enumerate(layers):
        x = weight @ x + bias
        if k < len(layers) - 1:
            x = np.maximum(x, 0)
    return x


def query(feat, layers, point, cell, local_ensemble=True, feat_unfold=True, cell_decode=True):
    """The answer (3,) at `point` (y, x) of a feature grid (C, h, w), for a pixel of size `cell` (height, width)."""
    _, h, w = feat.shape
    shifts = [(a, b) for a in (-1, 1) for b in (-1, 1)] if local_ensemble else [(0, 0)]
    answers, areas = [], []
    for a, b in shifts:
        corner = np.array([point[0] + a / h, point[1] + b / w])
        if local_ensemble:
            corner += 1e-6
        corner = np.clip(corner, -1 + 1e-6, 1 - 1e-6)
        i = int(np.argmin(np.abs(centers(h) - corner[0])))
        j = int(np.argmin(np.abs(centers(w) - corner[1])))
        rel = (np.array(point) - [centers(h)[i], centers(w)[j]]) * [h, w]
        feature = unfolded(feat, i, j) if feat_unfold else feat[:, i, j]
        inputs = [feature, rel] + ([np.array(cell) * [h, w]] if cell_decode else [])
        answers.append(mlp(np.concatenate(inputs), layers))
        areas.append(abs(rel[0] * rel[1]) + 1e-9)
    # Each corner is weighted by the area of the one diagonally opposite (equation 4).
    return sum(answer * area for answer, area in zip(answers, areas[::-1], strict=True)) / sum(areas)


def decode(feat, layers, coord, cell, **switches):
    """Answers (Q, 3) at coord (Q, 2) with cells (Q, 2)."""
    return np.stack([query(feat, layers, p, c, **switches) for p, c in zip(coord, cell, strict=True)])
