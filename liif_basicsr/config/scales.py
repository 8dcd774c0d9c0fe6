"""Scale factors, which are a number or a pair along y and x."""
from __future__ import annotations

from numbers import Real
from typing import Any

LARGEST_SCALE = 10_000


def scale_pair(value: Any, minimum: float = 0) -> tuple[float, float]:
    """Return a scale as a pair (along y, along x).

    Args:
        value: a number, or two of them.
        minimum: lowest scale; 0 itself is never allowed.

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
    return f"a scale {lowest} and below {LARGEST_SCALE}, or a pair of them [along y, along x]"


def scale_text(pair: tuple[float, float]) -> str:
    """Format a pair of scales for folders, tables and `{scale}`: '2', '2.5', '2x3.5'."""
    sy, sx = (f"{s:g}" for s in pair)
    return sy if sy == sx else f"{sy}x{sx}"


def _in_range(scale: Any, minimum: float) -> bool:
    is_number = isinstance(scale, Real) and not isinstance(scale, bool)
    return is_number and minimum <= scale < LARGEST_SCALE and scale > 0
