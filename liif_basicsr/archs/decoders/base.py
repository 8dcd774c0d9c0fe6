"""What a decoder is to a network: coordinates on a feature grid to colours."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor


class Axis(NamedTuple):
    """What rows or columns see along one axis: `index`, the features, and `rel`, how far they are; pixels first."""

    index: Tensor
    rel: Tensor

    def part(self, pixels: slice, first: int = 0) -> Axis:
        """Those of some pixels, counted from feature `first`."""
        return Axis(self.index[pixels] - first, self.rel[pixels])


class Decoder(Protocol):
    """A module that answers coordinates on a feature grid, and rows and columns of a picture in three steps."""

    def __call__(self, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """(B, C, h, w) features, coord (B, Q, 2), cell (B, Q, 2) or (B, 1, 2) to (B, Q, 3) in [-1, 1]."""

    def project(self, feat: Tensor, rel_cell: Tensor) -> Tensor:
        """What is done once: (B, C, h, w) to (B, h, w, D), all queries having rel_cell (2,), cell * (h, w)."""

    def axes(self, y: Tensor, x: Tensor, in_size: tuple[int, int], cell: Tensor) -> tuple[Axis, Axis]:
        """Look up rows y (R,) and columns x (C,) in a whole input of in_size (h, w), of pixels of cell (2,)."""

    def on_grid(self, grid: Tensor) -> Callable[[Axis, Axis], Tensor]:
        """For (h, w, D) of `project`, a function of rows and columns in it to (R, C, 3) in [-1, 1]."""

    @property
    def numbers_per_pixel(self) -> int:
        """About how many a pixel of `on_grid` takes while it is decoded."""

    def reach(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """How many features beyond the four around a query it uses, for an output of size (H, W)."""
