"""Warp images by a homography, a map or a rotation.

The network predicts the color at the position of each output pixel in the input.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from liif_basicsr.devices import autocast
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import CLEAN
from liif_basicsr.images.engine import Engine
from liif_basicsr.images.georeference import unplaced_tags
from liif_basicsr.images.kinds import AnyImage, map_image, returns_same_kind
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.size import AnyScale, check_scale
from liif_basicsr.images.values import Range, as_pixel, full_scale, mark_missing
from liif_basicsr.rendering.coordinates import Window
from liif_basicsr.rendering.homographies import rotation
from liif_basicsr.rendering.memory import STRIP_ROWS, WARP_BAND, check_memory
from liif_basicsr.rendering.renderer import EncodedImage
from liif_basicsr.rendering.warped import render_warped
from liif_basicsr.rendering.warps import Homography, PixelMap, Warp

Size = tuple[int, int]
Fill = float | Sequence[float]
Model: TypeAlias = str | Path | nn.Module


@returns_same_kind
def warp(
    image: AnyImage,
    matrix: np.ndarray | Sequence[Sequence[float]],
    size: Size,
    *,
    model: Model = CLEAN,
    fill: Fill = 0,
    device: str | None = None,
    precision: str | None = None,
    value_range: Range | None = None,
    bgr: bool = False,
) -> AnyImage:
    """Warp an image by a homography or an affine map, like cv2.warpPerspective and cv2.warpAffine, but sharper.

    Where the warp shrinks the image, the output is antialiased: if an output pixel covers several input pixels, the
    network is queried once for each of them, up to 64 times along each axis of the output pixel. The results are
    averaged.

    Args:
        image: see `liif_basicsr.upscale`.
        matrix: (3, 3) or (2, 3) matrix that maps input pixels (x, y) to output pixels. Pixel centers are at integers.
            OpenCV takes the same matrix without cv2.WARP_INVERSE_MAP.
        size: (H, W) of the output; OpenCV's `dsize` is (W, H).
        model: a network, or a name or file that `liif_basicsr.load` accepts.
        fill: value of output pixels outside the image: a number or one number per channel, in the image's unit (such as
            0 to 255 for uint8). NaN marks these pixels as missing.
        device, precision, value_range, bgr: see `liif_basicsr.upscale`.

    Returns:
        An image of the same type, see `liif_basicsr.upscale`.

    Raises:
        LIIFError: an argument is invalid, the matrix is singular, its horizon (where the homogeneous coordinate is 0)
            crosses the output, or the output does not fit into memory.
    """
    homography = Homography(matrix, size)
    return _warp(image, lambda in_size: homography, model, fill, device, precision, value_range, bgr)


@returns_same_kind
def remap(
    image: AnyImage,
    map_x: np.ndarray,
    map_y: np.ndarray,
    *,
    model: Model = CLEAN,
    fill: Fill = 0,
    device: str | None = None,
    precision: str | None = None,
    value_range: Range | None = None,
    bgr: bool = False,
) -> AnyImage:
    """Warp an image by a map with the input position of each output pixel, like cv2.remap.

    The output is antialiased as in `warp`.

    Args:
        image: see `liif_basicsr.upscale`.
        map_x, map_y: (H, W), each output pixel's x and y in the input, in pixels. Pixel centers are at integers.
            The area that an output pixel covers in the input is computed from the distances to its neighbors in the
            maps. Neighbors across a seam, for example in a panorama, are ignored.
        model, fill, device, precision, value_range, bgr: see `warp`.

    Returns:
        An image of the same type and the size (H, W), see `liif_basicsr.upscale`.

    Raises:
        LIIFError: the maps differ in shape, or contain NaN or infinities. For other errors see `warp`.
    """
    pixel_map = PixelMap(map_x, map_y)
    return _warp(image, lambda in_size: pixel_map, model, fill, device, precision, value_range, bgr)


@returns_same_kind
def rotate(
    image: AnyImage,
    degrees: float,
    *,
    expand: bool = True,
    scale: AnyScale = 1,
    model: Model = CLEAN,
    fill: Fill = 0,
    device: str | None = None,
    precision: str | None = None,
    value_range: Range | None = None,
    bgr: bool = False,
) -> AnyImage:
    """Rotate an image counterclockwise about its center, and scale it in the same step.

    Args:
        image: see `liif_basicsr.upscale`.
        degrees: any angle; negative angles rotate clockwise.
        expand: whether to make the output large enough for the whole rotated image. Otherwise the output has the size
            of the image. Either size is multiplied by `scale`.
        scale: a factor, or a pair of factors (along y, along x).
        model, fill, device, precision, value_range, bgr: see `warp`.

    Returns:
        An image of the same type, see `liif_basicsr.upscale`.

    Raises:
        LIIFError: the angle is not a finite number, or the scale is invalid. For other errors see `warp`.
    """
    factors = check_scale(scale)
    if isinstance(degrees, bool) or not isinstance(degrees, Real) or not np.isfinite(degrees):
        raise LIIFError(f"degrees: expected a finite number, got {degrees!r}")

    def warp_for(in_size: Size) -> Homography:
        return Homography(*rotation(in_size, degrees, expand, factors))

    return _warp(image, warp_for, model, fill, device, precision, value_range, bgr)


def _warp(
    image: AnyImage, warp_for: Callable[[Size], Warp], model: Model, fill: Fill, device: str | None,
    precision: str | None, value_range: Range | None, bgr: bool,
) -> AnyImage:  # fmt: skip
    """Warp an image. `warp_for` returns the warp for an image of size (h, w)."""
    warper = Warper(model, device, precision, value_range)
    return map_image(image, lambda loaded: warper.whole(loaded, warp_for(loaded.size), fill), bgr)


class Warper(Engine):
    """A network that warps images, see `Engine`."""

    def output_like(self, image: LoadedImage) -> LoadedImage:
        """Return the image as in `Engine.output_like`, without the tags that place it on a map."""
        return super().output_like(image)._replace(tags=unplaced_tags(image.tags))

    def bytes_needed(self, image: LoadedImage, size: Size, whole: bool) -> int:
        """Estimate the memory in bytes, see `Upscaler.bytes_needed`."""
        layers, bands = 2 if image.has_alpha else 1, max(image.shape[2], self.net.num_out_ch, 3)
        rows, cols = min(size[0], _band(size)[0]), min(size[1], _band(size)[1])
        output = (4 * size[0] if whole else 2 * rows) * size[1] * bands * image.dtype.itemsize
        return output + (rows * cols * 20 + image.size[0] * image.size[1] * 4) * bands * layers

    def whole(self, image: LoadedImage, warp: Warp, fill: Fill) -> np.ndarray:
        """Warp an image, and return the whole output as one array (H, W, `out_channels`)."""
        check_memory("image", self.bytes_needed(image, warp.size, whole=True), "write a file with the command line")
        return np.concatenate(list(self.strips(image, warp, fill)))

    def strips(
        self, image: LoadedImage, warp: Warp, fill: Fill = 0, progress: Callable[[int], object] = lambda count: None
    ) -> Iterator[np.ndarray]:
        """Warp an image strip by strip, from the output's top to its bottom.

        Args:
            warp: maps output pixels to their positions in the input.
            fill: see `liif_basicsr.warp`.
            progress: called with the number of newly rendered output pixels.

        Yields:
            Strips (up to STRIP_ROWS, W, `out_channels`) of the image's dtype.

        Raises:
            LIIFError: the fill is invalid, see `split`, or the network's output is not finite.
        """
        background = self.check_fill(fill, image)
        (colors, alpha, missing), value_range = self.split(image)
        pixels, precision = image.pixels, self.precision_for(image.pixels)
        opacity_range = (0, full_scale(image.dtype))
        channels = self.out_channels(image)
        bands = channels - (alpha is not None)
        encoded = self._encode(colors, value_range)
        # A constant alpha band is not rendered. Most are opaque.
        opacity_source: EncodedImage | float | None = None
        if alpha is not None:
            constant = alpha.min() == alpha.max()
            opacity_source = float(alpha.flat[0]) / opacity_range[1] if constant else self._encode(alpha, opacity_range)
        height, width = warp.size
        rows, cols = _band(warp.size)
        for top in range(0, height, rows):
            band = np.empty((min(rows, height - top), width, channels), pixels.dtype)
            for left in range(0, width, cols):
                window = Window(top, left, len(band), min(cols, width - left))
                target = band[:, left : left + window.width]
                with torch.inference_mode(), autocast(self.device, precision):
                    part = render_warped(encoded, warp, window, progress)
                    rendered, inside = self.as_gray(part[:-1], colors), part[-1]
                    opacity = None
                    if isinstance(opacity_source, EncodedImage):
                        opacity = inside * render_warped(opacity_source, warp, window)[:-1].mean(0)
                    elif opacity_source is not None:
                        opacity = inside * opacity_source
                    filled = rendered if background is None else _blend_fill(rendered, inside, opacity, background)
                    target[..., :bands] = self.to_pixels(filled[:bands], pixels, value_range)
                    if alpha is not None:
                        target[..., bands:] = self.to_pixels(filled[bands:], pixels, opacity_range)
                if background is None:
                    mark_missing(target, (inside < 0.5).cpu().numpy()[..., None], image)
                if missing is not None:
                    mark_missing(target[..., :bands], _missing_at(missing, warp, window), image)
            yield from (band[row : row + STRIP_ROWS] for row in range(0, len(band), STRIP_ROWS))

    def check_fill(self, fill: object, image: LoadedImage) -> Tensor | None:
        """Convert a fill value to a tensor (C,) in [0, 1] on the device, or to None if it marks pixels as missing.

        Raises:
            LIIFError: the fill is none of these: a number in the range of the pixels, one such number per channel, NaN,
                `nodata`.
        """
        channels, alpha = self.out_channels(image), self.takes_alpha(image)
        low, high = self.range_of(image)
        try:
            values = np.array(fill, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.array("")
        if values.shape == () and values.dtype.kind == "f" and not alpha:
            nodata = as_pixel(float(values), image.dtype)
            if (nodata is not None and nodata == image.nodata) or (np.isnan(values) and image.dtype.kind == "f"):
                return None
        limits = np.array([[low, high]] * (channels - alpha) + [[0, full_scale(image.dtype)]] * alpha)
        wrong = values.dtype.kind != "f" or values.shape not in ((), (1,), (channels,))
        if wrong or not ((values >= limits[:, 0]) & (values <= limits[:, 1])).all():
            several = "" if channels == 1 else f", or {channels} such numbers"
            missing = ", or nan for missing pixels" if image.dtype.kind == "f" and not alpha else ""
            raise LIIFError(f"fill: expected a number from {low:g} to {high:g}{several}{missing}, got {fill!r}")
        spread = limits[:, 1] - limits[:, 0]
        unit = (np.broadcast_to(values, (channels,)) - limits[:, 0]) / spread
        return torch.from_numpy(unit.astype(np.float32)).to(self.device)

    def _encode(self, plane: np.ndarray, value_range: Range) -> EncodedImage:
        # Features are not cached, because each band of rows of the output needs a tile only once.
        return self.net.encode_image(self.to_input(plane, value_range), 0)


def _missing_at(missing: np.ndarray, warp: Warp, window: Window) -> np.ndarray:
    """Return whether the input is missing at the center of each pixel of a window: bool (height, width, C)."""
    h, w, bands = missing.shape
    found = np.zeros((window.height * window.width, bands), bool)
    pixels = warp.pixel_positions(window)
    row, col = np.floor(pixels.position + 0.5).astype(np.int64).T
    within = (row >= 0) & (row < h) & (col >= 0) & (col < w)
    found[pixels.pixel[within]] = missing[row[within], col[within]]
    return found.reshape(window.height, window.width, bands)


def _blend_fill(colors: Tensor, inside: Tensor, opacity: Tensor | None, fill: Tensor) -> Tensor:
    """Blend the fill behind the rendered colors.

    Args:
        colors: (C, H, W).
        inside: (H, W), the fraction of each pixel that lies in the image.
        opacity: (H, W), alpha times `inside`; None if the image has no alpha.
        fill: (C,) or, with alpha, (C + 1,).

    Returns:
        The blended colors (C, H, W); with alpha, colors and opacity (C + 1, H, W).
    """
    outside = (1 - inside).clamp(0, 1)
    if opacity is None:
        return colors * (1 - outside) + fill[:, None, None] * outside
    opacity, behind = opacity.clamp_min(0), outside * fill[-1]
    share = torch.where(opacity + behind > 1e-6, opacity / (opacity + behind).clamp_min(1e-6), (inside > 0).to(inside))
    mixed = colors * share + fill[:-1, None, None] * (1 - share)
    return torch.cat([mixed, (opacity + behind)[None]])


def _band(size: Size) -> Size:
    """Return how many rows and columns of an output of `size` (H, W) are rendered at a time."""
    rows = max(1, WARP_BAND // size[1] // STRIP_ROWS) * STRIP_ROWS
    return rows, max(1, WARP_BAND // rows)
