"""The kinds of values in an options file: each takes a value, and returns it or raises ValueError with what it must be.

`liif_basicsr.config.schema` says which option is of which kind.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

# No width, depth or count of a network is larger; one that is would take all memory, or for ever to make.
LARGEST_ARGUMENT = 10_000
# BasicSR's kernels of blur, the side of the smallest that is drawn, and of the largest that may be asked for.
KERNELS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
SMALLEST_KERNEL, LARGEST_KERNEL = 7, 51


def anything(value: Any) -> Any:
    """What is checked by whoever reads it."""
    return value


def bounded(value: Any) -> Any:
    """Anything, but for numbers at any depth that are absurd or not finite."""
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    for part in parts:
        bounded(part)
    if isinstance(value, (int, float)) and not abs(value) <= LARGEST_ARGUMENT:
        raise ValueError(f"must hold no number above {LARGEST_ARGUMENT}")
    return value


def block(value: Any) -> Mapping[str, Any]:
    """A block of options."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a block of options")
    return value


def boolean(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def text(value: Any) -> str:
    """A string with something in it."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text")
    return value


def integer(minimum: int, maximum: int = 10**9) -> Callable[[Any], int]:
    """A whole number from `minimum` to `maximum`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ValueError(f"must be a whole number of at least {minimum}")
        if value > maximum:
            raise ValueError(f"must be a whole number of at most {maximum}")
        return value

    return check


def number(minimum: float, maximum: float = sys.float_info.max) -> Callable[[Any], float]:
    """A finite number from `minimum` to `maximum`."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not minimum <= value < float("inf"):
            raise ValueError(f"must be a number of at least {minimum}")
        if value > maximum:
            raise ValueError(f"must be a number of at most {maximum:g}")
        return value

    return check


probability = number(0, 1)


def choice(*names: str) -> Callable[[Any], str]:
    """One of `names`."""

    def check(value: Any) -> str:
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return value

    return check


def optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What `check` takes, or nothing (`~`)."""
    return lambda value: None if value is None else check(value)


def list_of(check: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """A list of what `check` takes."""

    def check_all(value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise ValueError("must be a list")
        return [check(item) for item in value]

    return check_all


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


def scale(value: Any) -> tuple[float, float]:
    """A scale, or a pair of scales along y and x; each above 0. Returns the pair."""
    both = value if isinstance(value, (list, tuple)) else (value, value)
    if len(both) != 2 or any(isinstance(s, bool) or not isinstance(s, (int, float)) or not 0 < s < 1e4 for s in both):
        raise ValueError("must be a scale above 0 and below 10000, or a pair of them (along y, along x)")
    return both[0], both[1]


def enlarging_scale(value: Any) -> tuple[float, float]:
    """A scale of at least 1, or a pair of them. Returns the pair."""
    both = scale(value)
    if min(both) < 1:
        raise ValueError("must be a scale of at least 1, or a pair of them (along y, along x)")
    return both


def scales(value: Any) -> list[tuple[float, float]]:
    """A list of different scales of at least 1."""
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("must be a list of scales")
    pairs = [enlarging_scale(item) for item in value]
    if len(set(pairs)) < len(pairs):
        raise ValueError("must not name a scale twice")
    return pairs


def scale_range(value: Any) -> tuple[float, float]:
    """[lowest, highest] scale, from 1."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError("must be a pair [lowest, highest]")
    low, high = (number(1)(item) for item in value)
    if low > high:
        raise ValueError("must be a pair [lowest, highest]")
    return low, high


def name_template(value: Any) -> str:
    """A text with '{}' for the name of the GT file."""
    if "{}" not in text(value):
        raise ValueError("must contain {}, for the name of the GT file without its suffix")
    return value


def gpus(value: Any) -> int | str:
    """A number of GPUs, or auto."""
    import torch  # not above: whatever names an option imports this module, commands without networks, too

    from liif_basicsr.devices import unfit_driver

    if value == "auto":
        return value
    try:
        count = integer(0)(value)
    except ValueError:
        raise ValueError("must be auto, or a number of GPUs, 0 for the CPU") from None
    if count and not torch.cuda.is_available():
        cause = unfit_driver() or "there is no GPU that torch can use"
        raise ValueError(f"must be auto or 0, for the CPU, as {cause}")
    return count


def loss(value: Any) -> Any:
    """Nothing, or a block of a loss; its weight is used in every step only."""
    number(0)((optional(block)(value) or {}).get("loss_weight", 1))
    return value


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
