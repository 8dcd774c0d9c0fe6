"""Upscale images, as a whole or strip by strip in bounded memory."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from liif_basicsr.archs.base import check_value_range
from liif_basicsr.devices import autocast
from liif_basicsr.errors import LIIFError, suggest
from liif_basicsr.hub import CLEAN, DEFAULT, checkpoint
from liif_basicsr.images.engine import Engine
from liif_basicsr.images.kinds import AnyImage, map_image, returns_same_kind
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.size import AnyScale, AnySize, OutputSize, check_strength, is_transposed
from liif_basicsr.images.values import (
    Range,
    check_values,
    full_scale,
    known_range,
    mark_missing,
    split_planes,
    type_limits,
)
from liif_basicsr.images.wrapping import aligned_margins, check_axes, output_margins, repeat
from liif_basicsr.rendering.coordinates import Window
from liif_basicsr.rendering.memory import CACHE_BYTES, QUEUED_STRIPS, STRIP_COLS, STRIP_ROWS, check_memory
from liif_basicsr.rendering.orientation import ORIENTATIONS, Orientation
from liif_basicsr.rendering.renderer import MARGIN, EncodedImage

# Interpolation without a network, for pixel art and comparisons.
METHODS = ("nearest", "bicubic")

Size = tuple[int, int]


@returns_same_kind
def upscale(
    image: AnyImage,
    scale: AnyScale | None = None,
    *,
    size: AnySize | None = None,
    model: str | Path | nn.Module = DEFAULT,
    method: str | None = None,
    device: str | None = None,
    precision: str | None = None,
    self_ensemble: bool = False,
    strength: float = 1.0,
    tile_wrap: str | None = None,
    value_range: Range | None = None,
    bgr: bool = False,
) -> AnyImage:
    """Upscale an image.

    Args:
        image: a path, a Pillow image, an array or a tensor. Arrays have the shape (H, W) or (H, W, C) and the type
            uint8, uint16, int16 or float. Tensors have the shape (C, H, W) or (B, C, H, W). C is the number of bands
            that the model takes. A model for RGB also takes gray (1), gray and alpha (2) and RGBA (4). NaN marks
            missing pixels. Output pixels whose center lies in a missing pixel are missing, too. For the other output
            pixels, the model sees the nearest valid pixel in place of a missing one.
        scale: a factor of at least 1, or a pair of factors (along y, along x). The default is 2.
        size: (H, W) of the output, instead of a scale.
        model: a network, or a name or file that `liif_basicsr.load` accepts.
        method: `nearest` or `bicubic`, to interpolate instead of using a model. It excludes model, device,
            precision, self_ensemble and strength.
        device: name of the device, such as `cuda` or `cpu`. By default, a network stays on its own device, and a name
            or file is loaded to the GPU if there is one, else to the CPU.
        precision: float32, tf32, bfloat16 or float16. The default is bfloat16 for 8-bit images if the device has
            instructions for it, else float32.
        self_ensemble: whether to average over the image's eight flips and transposes. This is slightly better, but
            takes eight times as long.
        strength: weight of the model's output in a mix with the output of `liif-fast`. At 0 only `liif-fast` is used,
            at 1 only the model. With `liif-photo`, a lower strength keeps more of the grain and of the defects.
        tile_wrap: `x`, `y` or `xy`, the axes along which the image repeats. A seamless texture repeats along xy, a
            360-degree panorama along x. Opposite edges of the output fit together.
        value_range: the values (low, high) that the model sees as 0 and 1. Values outside this range are an error. The
            default is the range that the model was trained with (`value_range` in its checkpoint). If the checkpoint
            does not contain a range, the default is [0, 1] for float arrays and tensors, and the full range of the type
            for uint8 and uint16. For int16, and for files with float pixels, a range must be passed.
        bgr: whether the colors of an array or tensor are in the order blue, green, red, as `cv2.imread` returns them.

    Returns:
        An image of the same type, or a Pillow image if `image` is a path. Arrays and tensors keep their dtype, number
        of dimensions and device. Pillow images keep their mode, color profile, resolution, EXIF and XMP data. Palette
        and CMYK images are converted to RGB, and the EXIF orientation is applied.

    Raises:
        LIIFError: an argument is invalid, the output does not fit into memory, or `size` seems to be (W, H), because it
            has the aspect ratio of the transposed image.
    """
    requested = OutputSize.of(scale, size)
    upscaler = open_upscaler(model, method, device, precision, self_ensemble, strength, tile_wrap, value_range)

    def work(image: LoadedImage) -> np.ndarray:
        out_size = requested.size_of(image.size)
        if size is not None and is_transposed(out_size, image.size):
            h, w = out_size
            raise LIIFError(f"size {out_size}: has the aspect ratio of the transposed image; pass (height, width), "
                            f"here ({w}, {h}), or pass scale if you want this shape")  # fmt: skip
        check_memory("image", upscaler.bytes_needed(image, out_size, whole=True), "write a file with the command line")
        return np.concatenate(list(upscaler.strips(image, out_size)))

    return map_image(image, work, bgr)


def open_upscaler(
    model: str | Path | nn.Module, method: str | None, device: str | None, precision: str | None, self_ensemble: bool,
    strength: float, tile_wrap: str | None, value_range: Range | None,
) -> Upscaler | Resampler:  # fmt: skip
    """Return the upscaler that the arguments of `upscale` choose.

    Raises:
        LIIFError: an argument is invalid, or has no effect because of `method`.
    """
    if method is None:
        return Upscaler(model, device, precision, self_ensemble, strength, tile_wrap, value_range)
    resampler = Resampler(method, tile_wrap, value_range)
    for name, value, default in (
        ("model", model, DEFAULT), ("device", device, None), ("precision", precision, None),
        ("self_ensemble", self_ensemble, False), ("strength", strength, 1),
    ):  # fmt: skip
        if value != default:
            raise LIIFError(f"{name}: has no effect with method {method}; remove one of the two")
    return resampler


class View(NamedTuple):
    """An encoded image in one orientation, with its weight in the output."""

    encoded: EncodedImage
    orientation: Orientation
    weight: float

    def render(self, size: Size, window: Window) -> Tensor:
        """Return the weighted values (D, height, width) of a window, in the orientation of the original image."""
        out_size = size[::-1] if self.orientation.transpose else size
        colors = self.encoded.render(out_size, self.orientation.window(window, size))[0]
        return self.orientation.undo(colors) * self.weight


class Upscaler(Engine):
    """A network that upscales images.

    Args:
        model, device, precision, value_range: see `Engine`.
        self_ensemble, strength, tile_wrap: see `upscale`.

    Raises:
        LIIFError: see `Engine`; or `tile_wrap` is unknown, the strength is not in [0, 1], or the strength is below 1
            and the model does not map 3 channels to 3.
    """

    def __init__(
        self,
        model: str | Path | nn.Module,
        device: str | None = None,
        precision: str | None = None,
        self_ensemble: bool = False,
        strength: float = 1.0,
        tile_wrap: str | None = None,
        value_range: Range | None = None,
    ) -> None:
        strength = check_strength(strength)
        self.tile_wrap = check_axes(tile_wrap)
        super().__init__(model, device, precision, value_range)
        self.orientations = ORIENTATIONS if self_ensemble else [Orientation()]
        self.weights = [(self.net, strength)] if strength > 0 else []
        if strength < 1:
            if (self.net.num_in_ch, self.net.num_out_ch) != (3, 3):
                raise LIIFError(f"strength: mixes the model with {CLEAN}, which maps 3 channels to 3, but this model "
                                f"maps {self.net.num_in_ch} to {self.net.num_out_ch}; remove strength")  # fmt: skip
            self.weights.append((checkpoint.load(CLEAN).to(self.device), 1 - strength))

    def bytes_needed(self, image: LoadedImage, size: Size, whole: bool) -> int:
        """Estimate the memory in bytes for an output of `size` (H, W).

        Args:
            whole: whether the whole output is kept in memory. Writing it to a file then needs memory for copies, too.
        """
        rows = 4 * size[0] if whole else min(size[0], (3 + QUEUED_STRIPS) * STRIP_ROWS)
        views = len(self.orientations) * len(self.weights) * (2 if image.has_alpha else 1)
        h, w = image.size
        margins = self._margins((h, w), size)
        encoded = (h + 2 * margins[0]) * (w + 2 * margins[1])
        bands = max(image.shape[2], self.net.num_out_ch)
        return rows * size[1] * bands * image.dtype.itemsize + encoded * 4 * max(3, self.net.num_in_ch) * views

    def _margins(self, in_size: Size, size: Size) -> Size:
        """Return by how many pixels, along y and x, to extend a repeating image before it is upscaled to `size`."""
        radii = [net.receptive_radius for net, _ in self.weights]
        bounded = [radius for radius in radii if radius is not None]
        halo = max(net.decoder.halo(in_size, size) for net, _ in self.weights)
        least = max(bounded) + halo + MARGIN if len(bounded) == len(radii) else None
        return aligned_margins(self.tile_wrap, in_size, size, least)

    def strips(
        self, image: LoadedImage, size: Size, progress: Callable[[int], object] = lambda count: None
    ) -> Iterator[np.ndarray]:
        """Upscale an image strip by strip, from top to bottom.

        Args:
            size: (H, W) of the output.
            progress: called with the number of newly rendered output pixels.

        Yields:
            Strips (up to STRIP_ROWS, W, `out_channels`) of the image's dtype.

        Raises:
            LIIFError: see `split`, or the network's output is not finite.
        """
        (height, width), precision, pixels = size, self.precision_for(image.pixels), image.pixels
        (colors, alpha, missing), value_range = self.split(image, self.tile_wrap)
        channels, opacity_range = self.out_channels(image), (0, full_scale(image.dtype))
        bands = channels - (alpha is not None)
        margins = self._margins(image.size, size)
        out_top, out_left = output_margins(margins, image.size, size)
        size = height + 2 * out_top, width + 2 * out_left
        color_views = self._encode(repeat(colors, margins), value_range)
        # A constant alpha band is not rendered. Most are opaque.
        varying = alpha is not None and alpha.min() < alpha.max()
        alpha_views = self._encode(repeat(alpha, margins), opacity_range) if alpha is not None and varying else []
        for top in range(0, height, STRIP_ROWS):
            rows = min(STRIP_ROWS, height - top)
            strip = np.empty((rows, width, channels), pixels.dtype)
            if alpha is not None:
                strip[..., -1] = alpha.flat[0]
            for left in range(0, width, STRIP_COLS):
                window = Window(out_top + top, out_left + left, rows, min(STRIP_COLS, width - left))
                cols = slice(left, left + window.width)
                with torch.inference_mode(), autocast(self.device, precision):
                    rendered = self.as_gray(_render(color_views, size, window), colors)
                    strip[:, cols, :bands] = self.to_pixels(rendered, pixels, value_range)
                    if alpha is not None and alpha_views:
                        rendered = self.as_gray(_render(alpha_views, size, window), alpha)
                        strip[:, cols, -1:] = self.to_pixels(rendered, pixels, opacity_range)
                progress(rows * window.width)
            if missing is not None:
                _mark_strip(strip[..., :bands], missing, image, top, height)
            yield strip

    def _encode(self, plane: np.ndarray, value_range: Range) -> list[View]:
        """Encode pixels (h, w, C) with each network, in each orientation."""
        lq = self.to_input(plane, value_range)
        max_bytes = CACHE_BYTES // (len(self.orientations) * len(self.weights))
        with torch.inference_mode():
            return [
                View(net.encode_image(orientation.apply(lq), max_bytes), orientation, weight / len(self.orientations))
                for net, weight in self.weights
                for orientation in self.orientations
            ]


def _render(views: list[View], size: Size, window: Window) -> Tensor:
    """Render a window of each view, and return the sum of the values (D, height, width)."""
    values = views[0].render(size, window)
    for view in views[1:]:
        values = values + view.render(size, window)
    return values


def _mark_strip(strip: np.ndarray, missing: np.ndarray, image: LoadedImage, top: int, height: int) -> None:
    """Mark the missing pixels of a strip (rows, W, D), which starts at row `top` of an output with `height` rows.

    An output pixel is missing if the input pixel that contains its center is missing.
    """
    rows = _nearest_pixels(np.arange(top, top + len(strip)), image.size[0], height)
    cols = _nearest_pixels(np.arange(strip.shape[1]), image.size[1], strip.shape[1])
    mark_missing(strip, missing[np.ix_(rows, cols)], image)


def _nearest_pixels(pixels: np.ndarray, in_size: int, size: int) -> np.ndarray:
    """Return the input pixel that contains the center of each output pixel, along an axis.

    Args:
        pixels: numbers of the output pixels.
        in_size: number of input pixels along the axis.
        size: number of output pixels along the axis.
    """
    return ((pixels + 0.5) * in_size / size).astype(int)


class Resampler:
    """Upscales by nearest-neighbor or bicubic interpolation, with the interface of `Upscaler`.

    Args:
        method: one of METHODS.
        tile_wrap, value_range: see `upscale`. Bicubic interpolation clips integers to the limits of their type.
            Without a `value_range`, it clips float arrays and tensors to [0, 1], but not float pixels of files.

    Raises:
        LIIFError: the method or `tile_wrap` is unknown, or the range is invalid.
    """

    device = torch.device("cpu")
    precision = None

    def __init__(self, method: str, tile_wrap: str | None = None, value_range: Range | None = None) -> None:
        if method not in METHODS:
            raise LIIFError(f"method: unknown {method!r}{suggest(method, METHODS)}")
        self.method, self.tile_wrap = method, check_axes(tile_wrap)
        self.value_range = check_value_range(value_range)

    def output_like(self, image: LoadedImage) -> LoadedImage:
        """Return the image itself, because the output has the same bands and metadata."""
        return image

    def out_channels(self, image: LoadedImage) -> int:
        """Return the number of bands of the output, including opacity."""
        return image.shape[2]

    def bytes_needed(self, image: LoadedImage, size: Size, whole: bool) -> int:
        """Estimate the memory in bytes for an output of `size` (H, W). The whole output is always kept in memory."""
        bytes_each = image.dtype.itemsize
        return size[0] * size[1] * image.shape[2] * (max(4, bytes_each) + bytes_each * (4 if whole else 1))

    def strips(
        self, image: LoadedImage, size: Size, progress: Callable[[int], object] = lambda count: None
    ) -> Iterator[np.ndarray]:
        """Upscale an image; see `Upscaler.strips`."""
        planes, dtype = split_planes(image, image.has_alpha, self.tile_wrap), image.dtype
        low, high = self.value_range or known_range(image) or (-np.inf, np.inf)
        if dtype.kind in "ui":
            least, most = type_limits(dtype)
            low, high = max(low, least), min(high, most)
        if self.value_range:
            check_values(planes, self.value_range)
        colors, alpha, missing = planes
        bands = [self._resize(colors[..., k], size, (low, high)) for k in range(colors.shape[2])]
        if alpha is not None:
            bands.append(self._resize(alpha[..., 0], size, (0, full_scale(dtype))))
        for top in range(0, size[0], STRIP_ROWS):
            strip = np.stack([band[top : top + STRIP_ROWS] for band in bands], axis=-1)
            strip = (strip.round() if dtype.kind in "ui" else strip).astype(dtype)
            if missing is not None:
                _mark_strip(strip[..., : colors.shape[2]], missing, image, top, size[0])
            progress(strip.shape[0] * strip.shape[1])
            yield strip

    def _resize(self, band: np.ndarray, size: Size, limits: Range) -> np.ndarray:
        in_size = (band.shape[0], band.shape[1])
        if self.method == "nearest":
            return band[np.ix_(*(_nearest_pixels(np.arange(n), m, n) for m, n in zip(in_size, size, strict=True)))]
        margins = aligned_margins(self.tile_wrap, in_size, size, MARGIN)
        (height, width), (top, left) = size, output_margins(margins, in_size, size)
        image = Image.fromarray(np.ascontiguousarray(repeat(band, margins), dtype=np.float32))
        resized = image.resize((width + 2 * left, height + 2 * top), Image.Resampling.BICUBIC)
        return np.asarray(resized)[top : top + height, left : left + width].clip(*limits)
