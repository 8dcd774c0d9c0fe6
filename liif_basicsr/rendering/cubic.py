"""Keys' cubic convolution kernel."""
from __future__ import annotations

from typing import TypeVar

import numpy as np
from torch import Tensor

Array = TypeVar("Array", Tensor, np.ndarray)


def cubic(x: Array) -> Array:
    """Return Keys' cubic kernel with a = -1/2, as in Pillow's bicubic filter, at distances `x`.

    Source: Keys, Cubic convolution interpolation for digital image processing (1981), equation 4.
    """
    x = abs(x)
    near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return near * (x <= 1) + far * ((x > 1) & (x < 2))
