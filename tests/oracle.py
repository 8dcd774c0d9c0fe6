"""Reference decoders in float64 NumPy, written from the papers: LIIF, LTE, LM-LIIF, SRNO and Thera.

They decode one query at a time. Only SRNO takes all queries of an image, because its queries depend on each other. The
reference decoders share no code with the package, and use neither precomputed layers nor blocks.
"""
import math

import numpy as np


def centers(n):
    return -1 + (2 * np.arange(n) + 1) / n


def unfolded(feat, i, j):
    """Return the 3x3 neighborhood of feature (i, j), zero-padded, in channel-major order: (C * 9,)."""
    padded = np.pad(feat, ((0, 0), (1, 1), (1, 1)))
    return padded[:, i : i + 3, j : j + 3].reshape(-1)


def mlp(x, layers):
    for k, (weight, bias) in enumerate(layers):
        x = weight @ x + bias
        if k < len(layers) - 1:
            x = np.maximum(x, 0)
    return x


def corners_around(shape, point, local_ensemble=True):
    """Return a tuple (i, j, relative coordinate, ensemble weight) for each feature around `point` (y, x).

    Args:
        shape: (h, w) of the feature grid.
    """
    h, w = shape
    shifts = [(a, b) for a in (-1, 1) for b in (-1, 1)] if local_ensemble else [(0, 0)]
    features, areas = [], []
    for a, b in shifts:
        corner = np.array([point[0] + a / h, point[1] + b / w])
        if local_ensemble:
            corner += 1e-6
        corner = np.clip(corner, -1 + 1e-6, 1 - 1e-6)
        i = int(np.argmin(np.abs(centers(h) - corner[0])))
        j = int(np.argmin(np.abs(centers(w) - corner[1])))
        rel = (np.array(point) - [centers(h)[i], centers(w)[j]]) * [h, w]
        features.append((i, j, rel))
        areas.append(abs(rel[0] * rel[1]) + 1e-9)
    # Each corner is weighted by the area of the diagonally opposite corner (LIIF, equation 4).
    return [(*feature, area / sum(areas)) for feature, area in zip(features, areas[::-1], strict=True)]


def ensemble(color, shape, point, local_ensemble=True):
    """Average `color(i, j, rel)` over the features (i, j) around `point`, with the ensemble weights."""
    return sum(color(i, j, rel) * weight for i, j, rel, weight in corners_around(shape, point, local_ensemble))


def query(feat, layers, point, cell, local_ensemble=True, feat_unfold=True, cell_decode=True):
    """Return LIIF's color (3,) at `point` (y, x), for features (C, h, w) and a pixel of size `cell` (height, width)."""
    _, h, w = feat.shape

    def color(i, j, rel):
        feature = unfolded(feat, i, j) if feat_unfold else feat[:, i, j]
        return mlp(np.concatenate([feature, rel] + ([np.array(cell) * [h, w]] if cell_decode else [])), layers)

    return ensemble(color, (h, w), point, local_ensemble)


def lte_query(feat, coef, freq, phase, layers, point, cell):
    """Return LTE's color (3,) at `point`.

    Args:
        coef, freq: pairs of a weight (D, C * 9) and a bias (D,).
        phase: weight (D / 2, 2).
    """
    _, h, w = feat.shape

    def color(i, j, rel):
        amplitude, frequency = (weight @ unfolded(feat, i, j) + bias for weight, bias in (coef, freq))
        angle = np.pi * (frequency.reshape(-1, 2) @ rel + phase @ (np.array(cell) * [h, w]))
        return mlp(amplitude * np.concatenate([np.cos(angle), np.sin(angle)]), layers)

    return ensemble(color, (h, w), point)


def lmliif_query(feat, latent, layers, point, cell, **switches):
    """Return LM-LIIF's color (3,) at `point`.

    The latent MLP returns the scales of all layers, the shifts of all layers, and the input of the render MLP.
    """
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


def gelu(x):
    return np.array([v / 2 * (1 + math.erf(v / math.sqrt(2))) for v in x.ravel()]).reshape(x.shape)


def normalized(x, weight, bias):
    """Normalize each head of x (Q, heads, d), with the unbiased standard deviation."""
    deviation = x.std(-1, ddof=1, keepdims=True)
    return (x - x.mean(-1, keepdims=True)) / (deviation + 1e-5) * weight + bias


def srno_decode(feat, lift, attention, project, points, cells):
    """Return SRNO's colors (Q, 3) at all `points` (Q, 2).

    Args:
        lift: pair (weight, bias) of the first linear layer.
        attention: for each attention layer, the number of heads and the pairs (weight, bias) of qkv, norm_k, norm_v,
            fc1 and fc2. The outputs of qkv are in the order (head, q/k/v, channel); norm_k and norm_v are (heads, d).
        project: pairs (weight, bias) of the last two layers.
    """
    _, h, w = feat.shape
    inputs = []
    for point, cell in zip(points, cells, strict=True):
        corners = corners_around((h, w), point)
        rel = [r for _, _, rel, _ in corners for r in rel]
        features = [feat[:, i, j] * weight for i, j, _, weight in corners]
        inputs.append(np.concatenate([rel, *features, np.array(cell) * [h, w]]))
    x = np.stack(inputs) @ lift[0].T + lift[1]
    for heads, qkv, norm_k, norm_v, fc1, fc2 in attention:
        q, k, v = np.moveaxis((x @ qkv[0].T + qkv[1]).reshape(len(x), heads, 3, -1), 2, 0)
        k, v = normalized(k, *norm_k), normalized(v, *norm_v)
        attended = np.zeros_like(v)
        for n in range(heads):
            # Every point attends to all points, without softmax.
            attended[:, n] = (q[:, n] @ k[:, n].T) @ v[:, n] / len(x)
        y = attended.reshape(len(x), -1) + x
        x = x + gelu(y @ fc1[0].T + fc1[1]) @ fc2[0].T + fc2[1]
    (weight1, bias1), (weight2, bias2) = project
    return gelu(x @ weight1.T + bias1) @ weight2.T + bias2


def thera_query(feat, hyper, freq, kappa, point, cell):
    """Return the color (3,) of Thera's heat field at `point`, without `mean`.

    Args:
        hyper: pair (weight, bias) of the hypernetwork, whose first outputs are the phases.
        freq: (2, num_freq), frequencies along y and x in radians per input pixel.
    """
    _, h, w = feat.shape
    i, j = (int(np.argmin(np.abs(centers(n) - p))) for n, p in zip((h, w), point, strict=True))
    offset = (np.array(point) - [centers(h)[i], centers(w)[j]]) * [h, w] / 2
    fields = (hyper[0] @ feat[:, i, j] + hyper[1]).reshape(-1, freq.shape[1])
    phase, amplitudes = fields[0], fields[1:]
    time = (np.array(cell) * [h, w] / 2) ** 2
    components = np.zeros(freq.shape[1])
    for k, (fy, fx) in enumerate(freq.T):
        decay = math.exp(-kappa * (fy**2 * time[0] + fx**2 * time[1]))
        components[k] = math.sin(fy * offset[0] + fx * offset[1] + phase[k]) * decay
    return amplitudes @ components


def decode(feat, layers, coord, cell, **switches):
    """Return LIIF's colors (Q, 3) at the coordinates (Q, 2) with the cells (Q, 2)."""
    return np.stack([query(feat, layers, p, c, **switches) for p, c in zip(coord, cell, strict=True)])
