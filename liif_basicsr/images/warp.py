"""Images turned, straightened, rectified, or warped by any map: the network is asked where each output pixel lies."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from liif_basicsr.config import checks
from liif_basicsr.devices import autocast
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import CLEAN
from liif_basicsr.images.engine import Engine, in_kind, planes
from liif_basicsr.rendering.coordinates import Window
from liif_basicsr.rendering.homographies import rotation
from liif_basicsr.rendering.memory import check_memory
from liif_basicsr.rendering.renderer import EncodedImage
from liif_basicsr.rendering.warped import render_warped
from liif_basicsr.rendering.warps import Homography, Table, Warp

# Rows of a strip, also the edge of a tile in a TIFF; output pixels of a band, for which each tile is encoded once.
ROWS, BAND = 256, 1 << 24

AnyImage = Image.Image | np.ndarray
Fill = float | Sequence[float]


def warp(
    image: AnyImage,
    matrix: np.ndarray | Sequence[Sequence[float]],
    size: tuple[int, int],
    *,
    model: str | Path | nn.Module = CLEAN,
    fill: Fill = 0,
    device: str | None = None,
    precision: str | None = None,
) -> AnyImage:
    """Warp an image by a homography or an affine map, as cv2.warpPerspective does, without its blur.

    Where the map shrinks, the output is antialiased: a pixel is the mean of several queries, one for each input pixel
    that it covers, up to 64 along each of its axes.

    Args:
        image: see `liif_basicsr.upscale`.
        matrix: (3, 3) or (2, 3), maps input pixels (x, y) to output pixels, the centres of pixels at whole numbers:
            what cv2.warpPerspective and cv2.warpAffine take (without cv2.WARP_INVERSE_MAP).
        size: (H, W) of the output; OpenCV's `dsize` is (W, H).
        model: a network, or what `liif_basicsr.load` takes.
        fill: what lies outside the image, in its own units (0 to 255 or 65535): a number, or one for each channel.
        device, precision: see `liif_basicsr.upscale`.

    Returns:
        The warped image, of the same kind as `image`, see `liif_basicsr.upscale`.

    Raises:
        LIIFError: an image, model, device or fill that will not do, a singular matrix, a horizon (w = 0) that crosses
            the output, or an output that does not fit memory.
    """
    found = Homography(matrix, size)
    warper = Warper(model, device, precision)
    return in_kind(image, lambda pixels: warper.whole(pixels, found, fill))


def remap(
    image: AnyImage,
    map_x: np.ndarray,
    map_y: np.ndarray,
    *,
    model: str | Path | nn.Module = CLEAN,
    fill: Fill = 0,
    device: str | None = None,
    precision: str | None = None,
) -> AnyImage:
    """Warp an image by a map given pixel by pixel, as cv2.remap does; antialiased like `warp`.

    Args:
        image: see `liif_basicsr.upscale`.
        map_x, map_y: (H, W) each: where each output pixel lies in the input, in pixels, their centres at whole numbers.
            Its size there is taken from its neighbours; a seam, such as that of a panorama, is not averaged over.
        model, fill, device, precision: see `warp`.

    Returns:
        The warped image (H, W), of the same kind as `image`, see `liif_basicsr.upscale`.

    Raises:
        LIIFError: maps whose shapes differ, or that hold NaN or infinity; else as `warp`.
    """
    table = Table(map_x, map_y)
    warper = Warper(model, device, precision)
    return in_kind(image, lambda pixels: warper.whole(pixels, table, fill))


def rotate(
    image: AnyImage,
    degrees: float,
    *,
    expand: bool = True,
    scale: float | tuple[float, float] = 1,
    model: str | Path | nn.Module = CLEAN,
    fill: Fill = 0,
    device: str | None = None,
    precision: str | None = None,
) -> AnyImage:
    """Turn an image about its centre, counterclockwise, and enlarge it in the same step.

    Args:
        image: see `liif_basicsr.upscale`.
        degrees: any angle; negative ones turn clockwise.
        expand: the output is large enough for the whole turned image, else as large as the image; times `scale`.
        scale: a factor, or two along y and x.
        model, fill, device, precision: see `warp`.

    Returns:
        The turned image, of the same kind as `image`, see `liif_basicsr.upscale`.

    Raises:
        LIIFError: as `warp`, or an angle or a scale that is no such number.
    """
    factors = check_scale(scale)
    check_degrees(degrees)
    warper = Warper(model, device, precision)

    def turned(pixels: np.ndarray) -> np.ndarray:
        matrix, size = rotation((pixels.shape[0], pixels.shape[1]), degrees, expand, factors)
        return warper.whole(pixels, Homography(matrix, size), fill)

    return in_kind(image, turned)


def check_scale(scale: object) -> tuple[float, float]:
    """A factor, or two along y and x, as a pair; LIIFError for what is none."""
    try:
        return checks.scale(scale)
    except ValueError as error:
        raise LIIFError(f"scale {scale!r}: {error}") from None


def check_degrees(degrees: object) -> None:
    """Raise LIIFError for what is no angle."""
    if isinstance(degrees, bool) or not isinstance(degrees, (int, float, np.number)) or not np.isfinite(degrees):
        raise LIIFError(f"degrees {degrees!r}: must be a finite number")


class Warper(Engine):
    """A network that warps images, see `Engine`."""

    def bytes_needed(self, pixels: np.ndarray, size: tuple[int, int], whole: bool) -> int:
        """About how much memory an output of `size` takes; `whole`: kept in memory, and copied to be encoded."""
        layers = 2 if pixels.shape[2] in (2, 4) else 1
        rows, cols = min(size[0], _band(size)[0]), min(size[1], _band(size)[1])
        held = (4 * size[0] if whole else 2 * rows) * size[1] * pixels.shape[2] * pixels.itemsize
        return held + rows * cols * 60 * layers + pixels.shape[0] * pixels.shape[1] * 12 * layers

    def whole(self, pixels: np.ndarray, warp: Warp, fill: Fill) -> np.ndarray:
        """All strips as one array."""
        check_memory("image", self.bytes_needed(pixels, warp.size, whole=True), "have the command write a file")
        return np.concatenate(list(self.strips(pixels, warp, fill)))

    def strips(
        self, pixels: np.ndarray, warp: Warp, fill: Fill = 0, done: Callable[[int], object] = lambda count: None
    ) -> Iterator[np.ndarray]:
        """Warp pixels, from the output's top to its bottom.

        Args:
            pixels: uint8 or uint16 (h, w, C); C: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
            warp: where output pixels lie in the input.
            fill: see `liif_basicsr.warp`.
            done: called with the number of pixels made since the last call.

        Returns:
            Strips (up to ROWS, W, C) of the dtype of `pixels`.
        """
        return self._strips(pixels, warp, check_fill(fill, pixels), done)

    def _strips(
        self, pixels: np.ndarray, warp: Warp, fill: Tensor, done: Callable[[int], object]
    ) -> Iterator[np.ndarray]:
        colours, alpha = planes(pixels)
        precision, most = self.precision_for(pixels), np.iinfo(pixels.dtype).max
        image = self._encoded(colours)
        # Alpha that is the same everywhere, most often opaque, stays as it is, and costs nothing.
        veil: EncodedImage | float | None = None
        if alpha is not None:
            veil = float(alpha.flat[0]) / most if alpha.min() == alpha.max() else self._encoded(alpha)
        height, width = warp.size
        rows, cols = _band(warp.size)
        for top in range(0, height, rows):
            band = np.empty((min(rows, height - top), width, pixels.shape[2]), pixels.dtype)
            for left in range(0, width, cols):
                window = Window(top, left, len(band), min(cols, width - left))
                with torch.inference_mode(), autocast(self.device, precision):
                    part = render_warped(image, warp, window, done)
                    seen, inside = part[:3], part[3]
                    seen = seen.mean(0, keepdim=True) if colours.shape[2] == 1 else seen
                    opacity = inside * veil if isinstance(veil, float) else None
                    if isinstance(veil, EncodedImage):
                        opacity = inside * render_warped(veil, warp, window)[:3].mean(0)
                    made = _filled(seen, inside, opacity, fill.to(self.device))
                    self.check_finite(made, precision)
                    made = made.clamp_(0, 1).mul_(most).round_().permute(1, 2, 0)
                    band[:, left : left + window.width] = made.cpu().numpy()
            yield from (band[row : row + ROWS] for row in range(0, len(band), ROWS))

    def _encoded(self, plane: np.ndarray) -> EncodedImage:
        # A tile is needed once for a band: nothing is kept.
        return self.net.encode_image(self.lq(plane), 0, self.net.tiling.tile)


def _filled(colours: Tensor, inside: Tensor, opacity: Tensor | None, fill: Tensor) -> Tensor:
    """Put what lies outside behind colours.

    Args:
        colours: (C, H, W).
        inside: (H, W), how much of a pixel lies in the image.
        opacity: (H, W) alpha times `inside`; None if the image has none.
        fill: (C,) or, with alpha, (C + 1,).

    Returns:
        (C, H, W) or (C + 1, H, W).
    """
    outside = (1 - inside).clamp(0, 1)
    if opacity is None:
        return colours * (1 - outside) + fill[:, None, None] * outside
    opacity, behind = opacity.clamp_min(0), outside * fill[-1]
    share = torch.where(opacity + behind > 1e-6, opacity / (opacity + behind).clamp_min(1e-6), (inside > 0).to(inside))
    mixed = colours * share + fill[:-1, None, None] * (1 - share)
    return torch.cat([mixed, (opacity + behind)[None]])


def check_fill(fill: object, pixels: np.ndarray) -> Tensor:
    """A fill as (C,) in [0, 1]; LIIFError for what is no such number or numbers."""
    channels, most = pixels.shape[2], np.iinfo(pixels.dtype).max
    try:
        values = np.array(fill, dtype=np.float32)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if values.shape not in ((), (1,), (channels,)) or not ((values >= 0) & (values <= most)).all():
        many = "" if channels == 1 else f", or {channels} of them"
        raise LIIFError(f"fill {fill!r}: must be a number from 0 to {most}{many}")
    return torch.from_numpy(np.broadcast_to(values, (channels,)) / np.float32(most))


def _band(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns that are made at a time, of an output of `size` (H, W)."""
    rows = max(1, BAND // size[1] // ROWS) * ROWS
    return rows, max(1, BAND // rows)
