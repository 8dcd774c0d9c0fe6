"""The size of the output, as it may be asked for."""
from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from liif_basicsr.config import checks
from liif_basicsr.errors import LIIFError


class OutputSize(NamedTuple):
    """The output size as exactly one of a scale (along y, along x), a size (H, W), or the length of the longer edge."""

    scale: tuple[float, float] | None = None
    size: tuple[int, int] | None = None
    long_edge: int | None = None

    @classmethod
    def of(
        cls,
        scale: float | tuple[float, float] | None = None,
        size: tuple[int, int] | None = None,
        long_edge: int | None = None,
    ) -> OutputSize:
        """Check the request; LIIFError unless exactly one valid scale, size or long edge is given."""
        if [scale, size, long_edge].count(None) != 2:
            raise LIIFError("give one of scale, size and long edge")
        try:
            return cls(
                None if scale is None else checks.scale(scale),
                None if size is None else _size(size),
                None if long_edge is None else checks.integer(1)(long_edge),
            )
        except ValueError as error:
            given = next(value for value in (scale, size, long_edge) if value is not None)
            name = "scale" if scale is not None else "size" if size is not None else "long edge"
            raise LIIFError(f"{name} {given!r}: {error}") from None

    @classmethod
    def parse(cls, scale: str | None, size: str | None, long_edge: str | None) -> OutputSize:
        """Parse the request from a command line: a scale `3.7` or `2x3.5` (y, x), a size `HxW`, a long edge `N`."""
        pair = _numbers("--scale", scale, float, (1, 2), "a number, or two with an x between (along y, along x)")
        both = _numbers("--size", size, int, (2,), "HxW, such as 1080x1920")
        edge = _numbers("--long-edge", long_edge, int, (1,), "a whole number")
        return cls.of(pair[0] if pair and len(pair) == 1 else pair, both, edge[0] if edge else None)

    def size_of(self, pixels: np.ndarray) -> tuple[int, int]:
        """(H, W) of the output for pixels (h, w, C).

        Raises:
            LIIFError: it is smaller than the input, and a network that enlarges does not shrink well.
        """
        h, w = pixels.shape[:2]
        if self.size:
            size = self.size
        elif self.long_edge:
            size = max(1, round(h * self.long_edge / max(h, w))), max(1, round(w * self.long_edge / max(h, w)))
        else:
            sy, sx = self.scale or (1.0, 1.0)
            size = max(1, round(h * sy)), max(1, round(w * sx))
        if size[0] < h or size[1] < w:
            raise LIIFError(f"{size[0]}x{size[1]} is smaller than the image, {h}x{w}; give a larger size")
        return size


def _size(value: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = map(checks.integer(1), value)
    except (TypeError, ValueError):
        raise ValueError("must be (H, W), two whole numbers of at least 1") from None
    return height, width


def _numbers(flag: str, text: str | None, kind: type, counts: tuple[int, ...], shape: str) -> tuple | None:
    """Parse numbers with an x between them; `counts` lists how many there may be."""
    if text is None:
        return None
    parts = re.split("[xX]", text)
    try:
        if len(parts) not in counts:
            raise ValueError
        return tuple(kind(part) for part in parts)
    except ValueError:
        raise LIIFError(f"{flag} {text}: must be {shape}") from None
