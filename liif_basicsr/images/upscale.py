"""Upscale images, as a whole or strip by strip in bounded memory."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork
from liif_basicsr.devices import autocast
from liif_basicsr.errors import LIIFError, suggest
from liif_basicsr.hub import CLEAN, DEFAULT, checkpoint
from liif_basicsr.images.engine import Engine, full_scale, split_alpha
from liif_basicsr.images.kinds import AnyImage, map_pixels, returns_same_kind
from liif_basicsr.images.size import OutputSize, is_transposed
from liif_basicsr.images.wrapping import aligned_margins, check_axes, output_margins, repeat
from liif_basicsr.rendering.coordinates import Window
from liif_basicsr.rendering.memory import CACHE_BYTES, STRIP_COLS, STRIP_ROWS, check_memory
from liif_basicsr.rendering.renderer import MARGIN, EncodedImage

# Classical methods, for pixel art and comparisons.
METHODS = {"nearest": Image.Resampling.NEAREST, "bicubic": Image.Resampling.BICUBIC}

Size = tuple[int, int]
Progress = Callable[[int], object]


@returns_same_kind
def upscale(
    image: AnyImage,
    scale: float | tuple[float, float] | None = None,
    *,
    size: Size | None = None,
    model: str | Path | nn.Module = DEFAULT,
    method: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    self_ensemble: bool = False,
    strength: float = 1.0,
    tile_wrap: str | None = None,
    bgr: bool = False,
) -> AnyImage:
    """Upscale an image.

    Args:
        image: a path, a Pillow image, an array or a tensor. Arrays are uint8, uint16 or floats in [0, 1]: (H, W), or
            (H, W, C) with gray (1), gray and alpha (2), RGB (3) or RGBA (4). Tensors are uint8 or floats in [0, 1]:
            (C, H, W) or (B, C, H, W).
        scale: a factor of at least 1, or a pair of factors (along y, along x). The default is 2.
        size: (H, W) of the output, instead of a scale.
        model: a network, or a name or file that `liif_basicsr.load` accepts.
        method: `nearest` or `bicubic`, instead of a model.
        device: such as `cuda` or `cpu`. The default is the network's own, or the GPU if `model` is a name or file.
        precision: float32, tf32, bfloat16 or float16. The default is the fastest that is exact enough, see
            `liif_basicsr.devices`.
        self_ensemble: average over the eight flips and transposes of the image: slightly better, eight times as slow.
        strength: weight of the model, from 0 to 1. The rest is the output of `liif-fast`: a lower strength of
            `liif-photo` keeps more of the grain, and of the damage.
        tile_wrap: `x`, `y` or `xy`: the image repeats along these axes, as a seamless texture (xy) or a panorama of 360
            degrees (x) does. Opposite edges of the output fit together.
        bgr: colors of the array or tensor are blue, green, red, as `cv2.imread` returns them.

    Returns:
        The same kind of image, and a Pillow image for a path. Arrays and tensors keep dtype, number of dimensions and
        device. Images keep mode, color profile, resolution, EXIF and XMP; palettes and CMYK become RGB, and the EXIF
        orientation is applied.

    Raises:
        LIIFError: an argument is invalid, the output does not fit into memory, or `size` has the aspect ratio of the
            transposed image, because (W, H) was passed.
    """
    requested = OutputSize.of(scale, size)
    upscaler = open_upscaler(model, method, device, precision, self_ensemble, strength, tile_wrap)

    def work(pixels: np.ndarray) -> np.ndarray:
        in_size = (pixels.shape[0], pixels.shape[1])
        out_size = requested.size_of(in_size)
        if size is not None and is_transposed(out_size, in_size):
            h, w = out_size
            raise LIIFError(f"size {out_size}: has the aspect ratio of the transposed image; use (height, width): "
                            f"({w}, {h}), or scale if you want this shape")  # fmt: skip
        check_memory("image", upscaler.bytes_needed(pixels, out_size, whole=True), "have the command write a file")
        return np.concatenate(list(upscaler.strips(pixels, out_size)))

    return map_pixels(image, work, bgr)


def open_upscaler(
    model: str | Path | nn.Module = DEFAULT,
    method: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    self_ensemble: bool = False,
    strength: float = 1.0,
    tile_wrap: str | None = None,
) -> Upscaler | Resampler:
    """Return an upscaler by a network, or by a classical method; see `upscale`."""
    if method is not None:
        return Resampler(method, tile_wrap)
    return Upscaler(model, device, precision, self_ensemble, strength, tile_wrap)


class Orientation(NamedTuple):
    """One of the eight orientations of an image: flipped along y, flipped along x, then transposed."""

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
        """Bring an image (..., h, w) from this orientation into its own."""
        return (image.mT if self.transpose else image).flip(self.flipped)

    def window(self, window: Window, size: Size) -> Window:
        """Return where a window of an image of `size` (H, W) lies in this orientation."""
        top = size[0] - window.top - window.height if self.flip_y else window.top
        left = size[1] - window.left - window.width if self.flip_x else window.left
        if self.transpose:
            return Window(left, top, window.width, window.height)
        return Window(top, left, window.height, window.width)


class View(NamedTuple):
    """An encoded image in one orientation, with its weight in the output."""

    encoded: EncodedImage
    orientation: Orientation
    weight: float

    def render(self, size: Size, window: Window) -> Tensor:
        """Return the weighted colors (3, height, width) of a window, in the image's own orientation."""
        out_size = size[::-1] if self.orientation.transpose else size
        colors = self.encoded.render(out_size, self.orientation.window(window, size))[0]
        return self.orientation.undo(colors) * self.weight


class Upscaler(Engine):
    """A network that upscales images.

    Args:
        model, device, precision: see `Engine`.
        self_ensemble, strength, tile_wrap: see `upscale`.

    Raises:
        LIIFError: see `Engine`; the strength is not in [0, 1]; `tile_wrap` is unknown.
    """

    def __init__(
        self,
        model: str | Path | nn.Module,
        device: str | None = None,
        precision: str | None = None,
        self_ensemble: bool = False,
        strength: float = 1.0,
        tile_wrap: str | None = None,
    ) -> None:
        if not 0 <= strength <= 1:
            raise LIIFError(f"strength: expected a number from 0 to 1, got {strength:g}")
        self.tile_wrap = check_axes(tile_wrap)
        super().__init__(model, device, precision)
        flags = product((False, True), repeat=3) if self_ensemble else [(False, False, False)]
        self.orientations = [Orientation(*flag) for flag in flags]
        self.weights = [(self.net, strength)] if strength > 0 else []
        if strength < 1:
            if self.net.num_in_ch != 3:
                raise LIIFError(f"strength: mixes with {CLEAN}, which takes 3 channels; this model takes "
                                f"{self.net.num_in_ch}, so remove strength")  # fmt: skip
            self.weights.append((cast(ContinuousNetwork, checkpoint.load(CLEAN).to(self.device)), 1 - strength))

    def bytes_needed(self, pixels: np.ndarray, size: Size, whole: bool) -> int:
        """Estimate the memory for an output of `size` (H, W).

        Args:
            whole: the output is kept in memory, and copied when it is encoded.
        """
        rows = 4 * size[0] if whole else min(size[0], 2 * STRIP_ROWS)
        views = len(self.orientations) * len(self.weights) * (2 if pixels.shape[2] in (2, 4) else 1)
        h, w = pixels.shape[:2]
        margins = self._margins((h, w), size)
        encoded = (h + 2 * margins[0]) * (w + 2 * margins[1])
        return rows * size[1] * pixels.shape[2] * pixels.itemsize + encoded * 12 * views

    def _margins(self, in_size: Size, size: Size) -> Size:
        """Return how far to repeat an image along y and x for an output of `size`."""
        radii = [net.receptive_radius for net, _ in self.weights]
        bounded = [radius for radius in radii if radius is not None]
        halo = max(net.decoder.halo(in_size, size) for net, _ in self.weights)
        least = max(bounded) + halo + MARGIN if len(bounded) == len(radii) else None
        return aligned_margins(self.tile_wrap, in_size, size, least)

    def strips(self, pixels: np.ndarray, size: Size, progress: Progress | None = None) -> Iterator[np.ndarray]:
        """Upscale pixels strip by strip, from top to bottom.

        Args:
            pixels: (h, w, C): uint8, uint16, or float in [0, 1]; C: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
            size: (H, W) of the output.
            progress: called with the number of newly rendered output pixels.

        Yields:
            Strips (up to STRIP_ROWS, W, C) of the dtype of `pixels`.

        Raises:
            LIIFError: the network's output is not finite.
        """
        (height, width), precision = size, self.precision_for(pixels)
        colors, alpha = split_alpha(pixels, self.tile_wrap)
        in_size = (pixels.shape[0], pixels.shape[1])
        margins = self._margins(in_size, size)
        out_top, out_left = output_margins(margins, in_size, size)
        size = height + 2 * out_top, width + 2 * out_left
        color_views = self._encode(repeat(colors, margins))
        # Constant alpha, usually opaque, is not rendered.
        varying = alpha is not None and alpha.min() < alpha.max()
        alpha_views = self._encode(repeat(alpha, margins)) if alpha is not None and varying else []
        for top in range(0, height, STRIP_ROWS):
            rows = min(STRIP_ROWS, height - top)
            strip = np.empty((rows, width, pixels.shape[2]), pixels.dtype)
            if alpha is not None:
                strip[..., -1] = alpha.flat[0]
            for left in range(0, width, STRIP_COLS):
                window = Window(out_top + top, out_left + left, rows, min(STRIP_COLS, width - left))
                cols = slice(left, left + window.width)
                with torch.inference_mode(), autocast(self.device, precision):
                    seen = _render(color_views, size, window, gray=colors.shape[2] == 1)
                    strip[:, cols, : colors.shape[2]] = self.to_pixels(seen, pixels)
                    if alpha_views:
                        strip[:, cols, -1:] = self.to_pixels(_render(alpha_views, size, window, gray=True), pixels)
                if progress is not None:
                    progress(rows * window.width)
            yield strip

    def _encode(self, plane: np.ndarray) -> list[View]:
        """Encode pixels (h, w, 1 or 3) by each network in each orientation."""
        lq = self.to_input(plane)
        max_bytes = CACHE_BYTES // (len(self.orientations) * len(self.weights))
        with torch.inference_mode():
            return [
                View(net.encode_image(orientation.apply(lq), max_bytes), orientation, weight / len(self.orientations))
                for net, weight in self.weights
                for orientation in self.orientations
            ]


def _render(views: list[View], size: Size, window: Window, gray: bool) -> Tensor:
    """Return the sum of the views of a window: (3, height, width), or (1, height, width) for gray."""
    colors = views[0].render(size, window)
    for view in views[1:]:
        colors = colors + view.render(size, window)
    return colors.mean(0, keepdim=True) if gray else colors


class Resampler:
    """Upscales by nearest-neighbor or bicubic interpolation, with the interface of `Upscaler`.

    Args:
        method: a key of METHODS.
        tile_wrap: see `upscale`.

    Raises:
        LIIFError: the method or `tile_wrap` is unknown.
    """

    device = torch.device("cpu")
    precision = None

    def __init__(self, method: str, tile_wrap: str | None = None) -> None:
        if method not in METHODS:
            raise LIIFError(f"method: unknown {method!r}{suggest(method, METHODS)}")
        self.method, self.tile_wrap = method, check_axes(tile_wrap)

    def precision_for(self, pixels: np.ndarray) -> str:
        """Return the method, for messages."""
        return self.method

    def bytes_needed(self, pixels: np.ndarray, size: Size, whole: bool) -> int:
        """Estimate the memory for an output of `size` (H, W), which is always in memory as a whole."""
        return size[0] * size[1] * pixels.shape[2] * (4 + pixels.itemsize * (4 if whole else 1))

    def strips(self, pixels: np.ndarray, size: Size, progress: Progress | None = None) -> Iterator[np.ndarray]:
        """Upscale pixels; see `Upscaler.strips`."""
        colors, alpha = split_alpha(pixels, self.tile_wrap)
        channels = np.moveaxis(colors if alpha is None else np.concatenate([colors, alpha], axis=-1), -1, 0)
        resized = [self._resize(channel, size) for channel in channels]
        for top in range(0, size[0], STRIP_ROWS):
            strip = np.stack([channel[top : top + STRIP_ROWS] for channel in resized], axis=-1)
            strip = strip.clip(0, full_scale(pixels.dtype))
            if progress is not None:
                progress(strip.shape[0] * strip.shape[1])
            yield (strip.round() if pixels.dtype.kind == "u" else strip).astype(pixels.dtype)

    def _resize(self, channel: np.ndarray, size: Size) -> Any:
        in_size = (channel.shape[0], channel.shape[1])
        margins = aligned_margins(self.tile_wrap, in_size, size, MARGIN)
        (height, width), (top, left) = size, output_margins(margins, in_size, size)
        image = Image.fromarray(np.ascontiguousarray(repeat(channel, margins), dtype=np.float32))
        resized = image.resize((width + 2 * left, height + 2 * top), METHODS[self.method])
        return np.asarray(resized)[top : top + height, left : left + width]
