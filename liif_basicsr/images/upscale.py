"""Enlarge images: Pillow images and arrays as a whole, or pixels strip by strip in bounded memory."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork
from liif_basicsr.devices import autocast
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import CLEAN, DEFAULT, checkpoint
from liif_basicsr.images.engine import Engine, in_kind, planes
from liif_basicsr.images.size import OutputSize
from liif_basicsr.rendering.coordinates import Window
from liif_basicsr.rendering.memory import check_memory

# Rows of a strip, which are also the rows of a tile in a TIFF; columns that are rendered at a time.
ROWS, COLS = 256, 2048
# Memory for the cached features of one image.
FEATURE_BYTES = 1 << 30

View = Callable[[tuple[int, int], Window], Tensor]


def upscale(
    image: Image.Image | np.ndarray,
    scale: float | tuple[float, float] | None = None,
    *,
    size: tuple[int, int] | None = None,
    model: str | Path | nn.Module = DEFAULT,
    device: str | None = None,
    precision: str | None = None,
    self_ensemble: bool = False,
    strength: float = 1.0,
) -> Image.Image | np.ndarray:
    """Enlarge an image.

    Args:
        image: a Pillow image, or a uint8 or uint16 array (H, W), (H, W, 1), gray and alpha (H, W, 2), RGB (H, W, 3)
            or RGBA (H, W, 4).
        scale: a factor of at least 1, or a pair of factors (along y, along x).
        size: (H, W) of the output, instead of a scale.
        model: a network, or a name or file that `liif_basicsr.load` accepts.
        device: such as `cuda` or `cpu`; by default the network's own, or for a name or file the GPU if there is one.
        precision: float32, bfloat16 or float16; by default the fastest that is exact enough, see
            `liif_basicsr.devices`.
        self_ensemble: average over the eight flips and transposes of the image: slightly better, eight times as slow.
        strength: of the model, 0 to 1; the rest is what the network for clean images makes of it. Less of `liif-photo`
            keeps more of the grain, and of the damage.

    Returns:
        A Pillow image for a Pillow image, an array of the same dtype and number of dimensions for an array. An image
        keeps its mode, ICC profile and EXIF; palettes and CMYK become RGB, and the EXIF orientation is applied.

    Raises:
        LIIFError: an image, size, model, device or strength that cannot be used, or an output beyond the memory.
    """
    wanted = OutputSize.of(scale, size)
    enlarger = Enlarger(model, device, precision, self_ensemble, strength)
    return in_kind(image, lambda pixels: _enlarge(pixels, wanted, enlarger))


class Enlarger(Engine):
    """A network that enlarges images.

    Args:
        model, device, precision: see `Engine`.
        self_ensemble, strength: see `upscale`.

    Raises:
        LIIFError: see `Engine`, or a strength beyond 0 to 1.
    """

    def __init__(
        self,
        model: str | Path | nn.Module,
        device: str | None = None,
        precision: str | None = None,
        self_ensemble: bool = False,
        strength: float = 1.0,
    ) -> None:
        if not 0 <= strength <= 1:
            raise LIIFError(f"strength: must lie between 0 and 1, not {strength:g}")
        super().__init__(model, device, precision)
        self.turns = [Turn(*turn) for turn in product((False, True), repeat=3)] if self_ensemble else [Turn()]
        self.shares = [(self.net, strength)]
        if strength < 1:
            clean = cast(ContinuousNetwork, checkpoint.load(CLEAN).to(self.device))
            self.shares = [(net, share) for net, share in ((self.net, strength), (clean, 1 - strength)) if share > 0]

    def bytes_needed(self, pixels: np.ndarray, size: tuple[int, int], whole: bool) -> int:
        """Estimate the memory for an output of `size` (H, W); `whole`: kept in memory, and copied to be encoded."""
        held = 4 * size[0] if whole else min(size[0], 2 * ROWS)
        views = len(self.turns) * len(self.shares) * (2 if pixels.shape[2] in (2, 4) else 1)
        return held * size[1] * pixels.shape[2] * pixels.itemsize + pixels.shape[0] * pixels.shape[1] * 12 * views

    def strips(
        self, pixels: np.ndarray, size: tuple[int, int], done: Callable[[int], object] = lambda count: None
    ) -> Iterator[np.ndarray]:
        """Enlarge pixels strip by strip, from top to bottom.

        Args:
            pixels: uint8 or uint16 (h, w, C); C: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
            size: (H, W) of the output.
            done: called with the number of newly rendered output pixels.

        Yields:
            Strips (up to ROWS, W, C) of the dtype of `pixels`.

        Raises:
            LIIFError: the network's output is not finite.
        """
        height, width = size
        layers = self._layers(pixels)
        precision = self.precision_for(pixels)
        for top in range(0, height, ROWS):
            rows = min(ROWS, height - top)
            strip = np.empty((rows, width, pixels.shape[2]), pixels.dtype)
            for left in range(0, width, COLS):
                window = Window(top, left, rows, min(COLS, width - left))
                with torch.inference_mode(), autocast(self.device, precision):
                    part = torch.cat([layer(size, window) for layer in layers])
                    self.check_finite(part, precision)
                    part = part.float().clamp(0, 1) * np.iinfo(pixels.dtype).max
                    strip[:, left : left + window.width] = part.round().permute(1, 2, 0).cpu().numpy()
                done(rows * window.width)
            yield strip

    def _layers(self, pixels: np.ndarray) -> list[View]:
        """Colours and alpha, each a function of the output size and a window to (channels, rows, columns)."""
        colours, alpha = planes(pixels)
        first = self._view(colours)
        layers: list[View] = [_gray(first) if colours.shape[2] == 1 else first]
        if alpha is None:
            return layers
        if alpha.min() == alpha.max():  # constant, most often opaque: no need to render it
            value = float(alpha.flat[0]) / np.iinfo(pixels.dtype).max
            layers.append(lambda size, part: torch.full((1, part.height, part.width), value, device=self.device))
        else:
            layers.append(_gray(self._view(alpha)))
        return layers

    def _view(self, plane: np.ndarray) -> View:
        """Pixels (h, w, 1 or 3) as a function of the output size and a window to (3, rows, columns)."""
        lq = self.lq(plane)
        kept = FEATURE_BYTES // (len(self.turns) * len(self.shares))
        with torch.inference_mode():
            views = [
                (turn.view(net, lq, kept), share / len(self.turns)) for net, share in self.shares for turn in self.turns
            ]
        return lambda size, window: torch.stack([view(size, window) * weight for view, weight in views]).sum(0)


class Turn:
    """One of the eight orientations of an image: flipped along y, flipped along x, then transposed."""

    def __init__(self, flip_y: bool = False, flip_x: bool = False, transpose: bool = False) -> None:
        self.flip_y, self.flip_x, self.transpose = flip_y, flip_x, transpose
        self.dims = [dim for dim, flip in ((-2, flip_y), (-1, flip_x)) if flip]

    def view(self, net: ContinuousNetwork, lq: Tensor, max_bytes: int) -> View:
        """Enlarge the image in this orientation and turn the result back."""
        turned = lq.flip(self.dims)
        encoded = net.encode_image(turned.mT if self.transpose else turned, max_bytes)

        def window(size: tuple[int, int], part: Window) -> Tensor:
            colours = encoded.render(size[::-1] if self.transpose else size, self._turned(part, size))[0]
            return (colours.mT if self.transpose else colours).flip(self.dims)

        return window

    def _turned(self, part: Window, size: tuple[int, int]) -> Window:
        """The same window in the turned image."""
        top = size[0] - part.top - part.height if self.flip_y else part.top
        left = size[1] - part.left - part.width if self.flip_x else part.left
        return Window(left, top, part.width, part.height) if self.transpose else Window(top, left, *part[2:])


def _gray(view: View) -> View:
    return lambda size, window: view(size, window).mean(0, keepdim=True)


def _enlarge(pixels: np.ndarray, wanted: OutputSize, enlarger: Enlarger) -> np.ndarray:
    size = wanted.size_of(pixels)
    check_memory("image", enlarger.bytes_needed(pixels, size, whole=True), "have the command write a file")
    return np.concatenate(list(enlarger.strips(pixels, size)))
