"""Images of one colour or of one gradient: what an enlarging network should leave as it is."""
from __future__ import annotations

import numpy as np


def plain_image(side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw such an image, uint8 (side, side, 3): a third are of one colour, the others go from one to another.

    A gradient has any direction, and may reach its two colours before the image's border.
    """
    first, last = rng.integers(0, 256, (2, 3))
    if rng.random() < 1 / 3:
        last = first
    angle, steepness = rng.uniform(0, 2 * np.pi), rng.uniform(1, 2)
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    along = np.cos(angle) * x + np.sin(angle) * y
    share = np.clip(along / np.ptp(along) * steepness + 0.5, 0, 1)[..., None]
    return np.rint(first + (last - first) * share).astype(np.uint8)
