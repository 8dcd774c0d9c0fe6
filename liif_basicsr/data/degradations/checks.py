"""What the options of degradations may be."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from liif_basicsr.utils.options import list_of, number

KERNELS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
# The side of the smallest blur kernel that is drawn, and of the largest that may be asked for.
SMALLEST_KERNEL, LARGEST_KERNEL = 7, 51

probability = number(0, 1)


def pair(minimum: float, maximum: float, below: bool = False) -> Callable[[Any], list[float]]:
    """[lowest, highest], both from `minimum` to `maximum`; `below`: the one must be below the other, not equal."""

    def check(value: Any) -> list[float]:
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise ValueError("must be a pair [lowest, highest]")
        low, high = (number(minimum, maximum)(item) for item in value)
        if low > high or (below and low == high):
            raise ValueError(f"must be a pair [lowest, highest], {'one below the other' if below else 'in this order'}")
        return [low, high]

    return check


def around_one(minimum: float, maximum: float) -> Callable[[Any], list[float]]:
    """A pair with 1 between its ends, or at one of them."""

    def check(value: Any) -> list[float]:
        low, high = pair(minimum, maximum)(value)
        if not low <= 1 <= high:
            raise ValueError("must be a pair [lowest, highest] with 1 between them")
        return [low, high]

    return check


quality_range = pair(1, 100)


def weights(value: Any) -> list[float]:
    """Probabilities of choices, in any unit: at least 0, one of them above."""
    numbers = list_of(number(0, 1e6))(value)
    if not sum(numbers):
        raise ValueError("must be a list of probabilities, one of them above 0")
    return numbers


def three_weights(value: Any) -> list[float]:
    """Those of enlarging, reducing and keeping the size."""
    if len(numbers := weights(value)) != 3:
        raise ValueError("must be three probabilities: of enlarging, reducing and keeping the size")
    return numbers


def kernel_size(value: Any) -> int:
    """The side of the largest kernel that is drawn."""
    odd = isinstance(value, int) and not isinstance(value, bool) and value % 2 == 1
    if not odd or not SMALLEST_KERNEL <= value <= LARGEST_KERNEL:
        raise ValueError(f"must be an odd number from {SMALLEST_KERNEL} to {LARGEST_KERNEL}")
    return value


def kernel_names(value: Any) -> list[str]:
    """Names of BasicSR's kernels."""
    if not isinstance(value, (list, tuple)) or not value or any(name not in KERNELS for name in value):
        raise ValueError(f"must be a list of {', '.join(KERNELS)}")
    return list(value)
