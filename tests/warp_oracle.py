"""Reference implementation of warped images in float64 NumPy, one pixel and sample at a time, with `oracle`'s decoder.

Jacobians are central differences: for a homography with a tiny step, for a map between neighboring pixels.
"""
import math

import numpy as np
import oracle


def homography_positions(matrix, size):
    """Return the position (y, x) of each output pixel (H, W, 2) and its Jacobian (H, W, 2, 2)."""
    inverse = np.linalg.inv(np.array(matrix, dtype=np.float64))

    def position_of(row, col):
        x, y, w = inverse @ [col, row, 1.0]
        return np.array([y / w, x / w])

    position, jacobian = np.zeros((*size, 2)), np.zeros((*size, 2, 2))
    d = 1e-4
    for i in range(size[0]):
        for j in range(size[1]):
            position[i, j] = position_of(i, j)
            jacobian[i, j, :, 0] = (position_of(i + d, j) - position_of(i - d, j)) / (2 * d)
            jacobian[i, j, :, 1] = (position_of(i, j + d) - position_of(i, j - d)) / (2 * d)
    return position, jacobian


def map_positions(map_x, map_y):
    """Return the positions and Jacobians of a smooth map of at least 2x2 pixels."""
    position = np.stack([map_y, map_x], -1)
    return position, np.stack(np.gradient(position, axis=(0, 1)), -1)


def covered(position, extent, n):
    """Return the fraction of an interval of length `extent` around `position` that is inside an image of n pixels."""
    low, high = max(position - extent / 2, -0.5), min(position + extent / 2, n - 0.5)
    return max(0.0, high - low) / extent


def bicubic(x):
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def sample_count(extent):
    return 1 if extent <= 0.6 else max(2, math.ceil(extent - 0.1))


def warped(feat, layers, position, jacobian):
    """Return RGB in [0, 1] and the fraction of each pixel inside the image, (4, H, W)."""
    _, h, w = feat.shape
    height, width = position.shape[:2]
    samples, inside = [], np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        down, right = jacobian[i, j, :, 0], jacobian[i, j, :, 1]
        rows, cols = (sample_count(math.hypot(*step)) for step in (down, right))
        extent = [math.hypot(down[axis] / rows, right[axis] / cols) for axis in (0, 1)]
        for a, b in np.ndindex(rows, cols):
            v, u = (a + 0.5) / rows - 0.5, (b + 0.5) / cols - 0.5
            y, x = position[i, j] + down * v + right * u
            inside[i, j] += covered(y, extent[0], h) * covered(x, extent[1], w) / (rows * cols)
            point = np.clip([(2 * y + 1) / h - 1, (2 * x + 1) / w - 1], -1, 1)
            color = oracle.query(feat, layers, point, [2 * extent[0] / h, 2 * extent[1] / w])
            samples.append((i + v, j + u, 1 / (rows * cols), color * 0.5 + 0.5))
    colors = np.zeros((3, height, width))
    for i, j in np.ndindex(height, width):
        if inside[i, j] > 0:
            weights = [bicubic(i - row) * bicubic(j - col) * share for row, col, share, _ in samples]
            colors[:, i, j] = sum(w * sample[3] for w, sample in zip(weights, samples, strict=True)) / sum(weights)
    return np.concatenate([colors, inside[None]])
