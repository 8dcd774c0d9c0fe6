"""The eight orientations of an image, for self-ensembles (Lim et al., EDSR, CVPRW 2017, section 3.4)."""
from __future__ import annotations

from itertools import product
from typing import NamedTuple

from torch import Tensor

from liif_basicsr.rendering.coordinates import Window


class Orientation(NamedTuple):
    """One of the eight orientations of an image: whether to flip it along y and along x, and then to transpose it."""

    flip_y: bool = False
    flip_x: bool = False
    transpose: bool = False

    @property
    def flipped(self) -> list[int]:
        """The dimensions to flip."""
        return [dim for dim, flip in ((-2, self.flip_y), (-1, self.flip_x)) if flip]

    def apply(self, image: Tensor) -> Tensor:
        """Bring an image (..., h, w) into this orientation."""
        image = image.flip(self.flipped)
        return image.mT if self.transpose else image

    def undo(self, image: Tensor) -> Tensor:
        """Bring an image (..., h, w) from this orientation back into the original one."""
        return (image.mT if self.transpose else image).flip(self.flipped)

    def window(self, window: Window, size: tuple[int, int]) -> Window:
        """Return where `apply` moves a window of an image of `size` (H, W)."""
        top = size[0] - window.top - window.height if self.flip_y else window.top
        left = size[1] - window.left - window.width if self.flip_x else window.left
        if self.transpose:
            return Window(left, top, window.width, window.height)
        return Window(top, left, window.height, window.width)


ORIENTATIONS = [Orientation(*flags) for flags in product((False, True), repeat=3)]
