"""Functions for scales. A scale is a number, or a pair (along y, along x)."""
from __future__ import annotations

from numbers import Real
from typing import Any

LARGEST_SCALE = 10_000


def scale_pair(value: Any, minimum: float = 0) -> tuple[float, float]:
    """Return a scale as a pair (along y, along x).

    Args:
        value: a number, or a list or tuple of two numbers.
        minimum: lowest scale allowed. With 0, scales must be above 0.

    Raises:
        ValueError: `value` is not a scale within these limits.
    """
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2 or not all(_in_range(scale, minimum) for scale in pair):
        raise ValueError(f"expected {expected_scale(minimum)}")
    return pair


def expected_scale(minimum: float = 0) -> str:
    """Describe the values that `scale_pair` accepts."""
    lowest = f"of at least {minimum:g}" if minimum else "above 0"
    return f"a scale {lowest} and below {LARGEST_SCALE}, or a pair [along y, along x] of such scales"


def scale_text(pair: tuple[float, float]) -> str:
    """Format a scale (along y, along x) as text, such as '2', '2.5' or, if the two differ, '2x3.5' (y first).

    This text is used in folder names and tables, and replaces `{scale}` in paths.
    """
    sy, sx = (f"{s:g}" for s in pair)
    return sy if sy == sx else f"{sy}x{sx}"


def _in_range(scale: Any, minimum: float) -> bool:
    is_number = isinstance(scale, Real) and not isinstance(scale, bool)
    return is_number and minimum <= scale < LARGEST_SCALE and scale > 0
