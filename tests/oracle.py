"""Reference decoders in float64 NumPy, written from the papers, one query at a time: LIIF, LTE and LM-LIIF.

They share no code with the package and use none of its optimizations: no precomputed layers, no blocks.
"""
import numpy as np


def centers(n):
    return -1 + (2 * np.arange(n) + 1) / n


def unfolded(feat, i, j):
    """Return the 3x3 neighborhood of feature (i, j), zero outside, channel-major: (C * 9,)."""
    padded = np.pad(feat, ((0, 0), (1, 1), (1, 1)))
    return padded[:, i : i + 3, j : j + 3].reshape(-1)


def mlp(x, layers):
    for k, (weight, bias) in enumerate(layers):
        x = weight @ x + bias
        if k < len(layers) - 1:
            x = np.maximum(x, 0)
    return x


def ensemble(color, shape, point, local_ensemble=True):
    """Average `color(i, j, rel)` over the features (i, j) around `point` (y, x) in a grid of `shape` (h, w)."""
    h, w = shape
    shifts = [(a, b) for a in (-1, 1) for b in (-1, 1)] if local_ensemble else [(0, 0)]
    colors, areas = [], []
    for a, b in shifts:
        corner = np.array([point[0] + a / h, point[1] + b / w])
        if local_ensemble:
            corner += 1e-6
        corner = np.clip(corner, -1 + 1e-6, 1 - 1e-6)
        i = int(np.argmin(np.abs(centers(h) - corner[0])))
        j = int(np.argmin(np.abs(centers(w) - corner[1])))
        rel = (np.array(point) - [centers(h)[i], centers(w)[j]]) * [h, w]
        colors.append(color(i, j, rel))
        areas.append(abs(rel[0] * rel[1]) + 1e-9)
    # Each corner is weighted by the area of the diagonally opposite corner (LIIF, equation 4).
    return sum(corner * area for corner, area in zip(colors, areas[::-1], strict=True)) / sum(areas)


def query(feat, layers, point, cell, local_ensemble=True, feat_unfold=True, cell_decode=True):
    """Return LIIF's color (3,) at `point` (y, x) of features (C, h, w). `cell` is the pixel's size (height, width)."""
    _, h, w = feat.shape

    def color(i, j, rel):
        feature = unfolded(feat, i, j) if feat_unfold else feat[:, i, j]
        return mlp(np.concatenate([feature, rel] + ([np.array(cell) * [h, w]] if cell_decode else [])), layers)

    return ensemble(color, (h, w), point, local_ensemble)


def lte_query(feat, coef, freq, phase, layers, point, cell):
    """Return LTE's color (3,). `coef` and `freq` are pairs (weight (D, C * 9), bias), `phase` is (D / 2, 2)."""
    _, h, w = feat.shape

    def color(i, j, rel):
        amplitude, frequency = (weight @ unfolded(feat, i, j) + bias for weight, bias in (coef, freq))
        angle = np.pi * (frequency.reshape(-1, 2) @ rel + phase @ (np.array(cell) * [h, w]))
        return mlp(amplitude * np.concatenate([np.cos(angle), np.sin(angle)]), layers)

    return ensemble(color, (h, w), point)


def lmliif_query(feat, latent, layers, point, cell, **switches):
    """Return LM-LIIF's color (3,). The latent MLP returns scales and shifts per layer, and the render MLP's input."""
    _, h, w = feat.shape
    on = {"local_ensemble": True, "feat_unfold": True, "cell_decode": True,
          "mod_input": True, "mod_scale": True, "mod_shift": True, **switches}  # fmt: skip
    rel_cell = [np.array(cell) * [h, w]] if on["cell_decode"] else []

    def color(i, j, rel):
        feature = unfolded(feat, i, j) if on["feat_unfold"] else feat[:, i, j]
        modulation = list(mlp(np.concatenate([feature, *rel_cell]), latent))
        hidden = [len(bias) for _, bias in layers[:-1]]
        scales, shifts = (
            [np.array([modulation.pop(0) for _ in range(n)]) if on[kind] else np.zeros(n) for n in hidden]
            for kind in ("mod_scale", "mod_shift")
        )
        x = np.concatenate([modulation if on["mod_input"] else feat[:, i, j], rel, *rel_cell])
        for (weight, bias), scale, shift in zip(layers, scales, shifts, strict=False):
            x = np.maximum((weight @ x + bias) * (1 + scale) + shift, 0)
        return layers[-1][0] @ x + layers[-1][1]

    return ensemble(color, (h, w), point, on["local_ensemble"])


def decode(feat, layers, coord, cell, **switches):
    """Return LIIF's colors (Q, 3) at coord (Q, 2) with cells (Q, 2)."""
    return np.stack([query(feat, layers, p, c, **switches) for p, c in zip(coord, cell, strict=True)])
