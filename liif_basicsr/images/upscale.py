"""Images enlarged: Pillow's images and arrays whole, pixels in strips, in bounded memory."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from liif_basicsr.archs.continuous_arch import ContinuousNetwork
from liif_basicsr.hub import DEFAULT
from liif_basicsr.images.engine import Engine, in_kind, planes
from liif_basicsr.images.size import OutputSize
from liif_basicsr.rendering.tiles import Window
from liif_basicsr.utils.memory import check_memory
from liif_basicsr.utils.precision import autocast

# Rows of a strip, also the edge of a tile in a TIFF, and columns that are computed at a time.
ROWS, COLS = 256, 2048
# Features that are kept of one image.
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
) -> Image.Image | np.ndarray:
    """Enlarge an image.

    Args:
        image: a Pillow image, or a uint8 or uint16 array (H, W), (H, W, 1), gray and alpha (H, W, 2), RGB (H, W, 3)
            or RGBA (H, W, 4).
        scale: a factor of at least 1, or two of them, (along y, along x).
        size: (H, W) in place of a scale.
        model: a network, or what `liif_basicsr.load` takes.
        device: such as `cuda:0` or `cpu`; by default a network's own, or the best one there is.
        precision: float32, bfloat16 or float16; by default the one that is fast and exact enough, see
            `liif_basicsr.utils.precision`.
        self_ensemble: the mean of the image's eight turns and transform: a little better, eight times as slow.

    Returns:
        An image where an image was given, an array of the same kind where an array was. An image keeps its mode,
        ICC profile and EXIF; palettes and CMYK become RGB, and the camera's note on orientation is followed.

    Raises:
        LIIFError: an image, a size, a model or a device that will not do, or an output that does not fit memory.
    """
    wanted = OutputSize.of(scale, size)
    enlarger = Enlarger(model, device, precision, self_ensemble)
    return in_kind(image, lambda pixels: _enlarge(pixels, wanted, enlarger))


class Enlarger(Engine):
    """A network that enlarges images.

    Args:
        model, device, precision: see `Engine`.
        self_ensemble: see `upscale`.
    """

    def __init__(
        self,
        model: str | Path | nn.Module,
        device: str | None = None,
        precision: str | None = None,
        self_ensemble: bool = False,
    ) -> None:
        super().__init__(model, device, precision)
        self.self_ensemble = self_ensemble

    def bytes_needed(self, pixels: np.ndarray, size: tuple[int, int], whole: bool) -> int:
        """About how much memory an output of `size` takes; `whole`: kept in memory, and copied to be encoded."""
        held = 4 * size[0] if whole else min(size[0], 2 * ROWS)
        views = (8 if self.self_ensemble else 1) * (2 if pixels.shape[2] in (2, 4) else 1)
        return held * size[1] * pixels.shape[2] * pixels.itemsize + pixels.shape[0] * pixels.shape[1] * 12 * views

    def strips(
        self, pixels: np.ndarray, size: tuple[int, int], done: Callable[[int], object] = lambda count: None
    ) -> Iterator[np.ndarray]:
        """Enlarge pixels from top to bottom.

        Args:
            pixels: uint8 or uint16 (h, w, C); C: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
            size: (H, W).
            done: is told the number of pixels that have been made since it was last called.

        Yields:
            (up to ROWS, W, C) of the dtype of `pixels`.
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
        """Colours and alpha, each a function of the output's size and a window of it to (channels, rows, columns)."""
        colours, alpha = planes(pixels)
        first = self._view(colours)
        layers: list[View] = [_gray(first) if colours.shape[2] == 1 else first]
        if alpha is None:
            return layers
        if alpha.min() == alpha.max():  # most often opaque: it stays as it is, and costs nothing
            value = float(alpha.flat[0]) / np.iinfo(pixels.dtype).max
            layers.append(lambda size, part: torch.full((1, part.height, part.width), value, device=self.device))
        else:
            layers.append(_gray(self._view(alpha)))
        return layers

    def _view(self, plane: np.ndarray) -> View:
        """Pixels (h, w, 1 or 3) as a function to (3, rows, columns)."""
        lq = self.lq(plane)
        turns = [Turn(*turn) for turn in product((False, True), repeat=3)] if self.self_ensemble else [Turn()]
        with torch.inference_mode():
            views = [turn.view(self.net, lq, FEATURE_BYTES // len(turns)) for turn in turns]
        return lambda size, window: torch.stack([view(size, window) for view in views]).mean(0)


class Turn:
    """One of the eight ways an image can lie: flipped along y, along x, and then transposed."""

    def __init__(self, flip_y: bool = False, flip_x: bool = False, transpose: bool = False) -> None:
        self.flip_y, self.flip_x, self.transpose = flip_y, flip_x, transpose
        self.dims = [dim for dim, flip in ((-2, flip_y), (-1, flip_x)) if flip]

    def view(self, net: ContinuousNetwork, lq: Tensor, max_bytes: int) -> View:
        """The image enlarged as it lies so, and turned back."""
        turned = lq.flip(self.dims)
        opened = net.encode_image(turned.mT if self.transpose else turned, max_bytes)

        def window(size: tuple[int, int], part: Window) -> Tensor:
            answer = opened.render(size[::-1] if self.transpose else size, self._turned(part, size))[0]
            return (answer.mT if self.transpose else answer).flip(self.dims)

        return window

    def _turned(self, part: Window, size: tuple[int, int]) -> Window:
        """Where a window lies in the turned image."""
        top = size[0] - part.top - part.height if self.flip_y else part.top
        left = size[1] - part.left - part.width if self.flip_x else part.left
        return Window(left, top, part.width, part.height) if self.transpose else Window(top, left, *part[2:])


def _gray(view: View) -> View:
    return lambda size, window: view(size, window).mean(0, keepdim=True)


def _enlarge(pixels: np.ndarray, wanted: OutputSize, enlarger: Enlarger) -> np.ndarray:
    size = wanted.size_of(pixels)
    check_memory("image", enlarger.bytes_needed(pixels, size, whole=True), "have the command write a file")
    return np.concatenate(list(enlarger.strips(pixels, size)))
