"""A picture that is looked into again and again: its features are computed once, where they are first needed."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from liif_basicsr.rendering.features import FeatureTiles
from liif_basicsr.rendering.tiles import Window, check_window


class EncodedImage:
    """One picture in a network, see `ContinuousNetwork.encode_image`.

    Args:
        render: (size, window, features) to the colours.
    """

    def __init__(
        self, features: FeatureTiles, render: Callable[[tuple[int, int], Window, FeatureTiles], Tensor]
    ) -> None:
        self._features, self._render = features, render

    @torch.no_grad()
    def render(self, size: tuple[int, int], window: tuple[int, int, int, int] | None = None) -> Tensor:
        """What `ContinuousNetwork.render` gives, equal to rounding: (1, 3, height, width), RGB in [0, 1].

        Args:
            size: (H, W) of the whole enlarged picture, another one each time if need be.
            window: (top, left, height, width): the part of it to return; all of it by default.

        Raises:
            LIIFError: a size below 1 or a window that does not lie in the picture.
        """
        return self._render(size, check_window(size, window), self._features)
