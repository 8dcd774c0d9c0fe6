"""Rectify a quadrilateral of the image: as a preview on the page, or as a file that the page saves."""
from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.size import check_scale, show_size
from liif_basicsr.images.warp import Warper
from liif_basicsr.images.writing import BY_SUFFIX
from liif_basicsr.rendering.homographies import check_quad, natural_size, rectification, scaled_size, scaling
from liif_basicsr.rendering.memory import check_memory
from liif_basicsr.rendering.warps import Homography
from liif_basicsr.viewer.tiles import Tiles

# Maximum number of pixels of a preview (which takes seconds on a CPU), and of a file that the page saves.
MAX_PREVIEW, MAX_SAVED = 1 << 17, 1 << 26
# Margin around the quadrilateral that is also encoded for a preview. It is in pixels of the reduced image.
MARGIN = 32

Progress = Callable[[int], object]


class Region(NamedTuple):
    """A quadrilateral to rectify.

    method: index of a network in `Tiles.methods`.
    corners: four (x, y), as for the command `warp --quad`.
    scale: upscaling factor of the rectified region.
    """

    method: int
    corners: list[tuple[float, float]]
    scale: float


class Rectifier:
    """Rectifies regions of an image.

    Args:
        tiles: the networks, and the displayed image. Previews are made from this image.
        source: the file's own pixels and metadata. Saved files are made from these.
    """

    def __init__(self, tiles: Tiles, source: LoadedImage) -> None:
        self.image, self.source = tiles.image, source
        self.warpers = [Warper(net) for net in tiles.networks.values()]

    def preview(self, region: Region, progress: Progress) -> bytes:
        """Return a rectified region as a PNG file, reduced to at most MAX_PREVIEW pixels.

        Args:
            progress: function that is called during the work. If it raises an exception, the work ends.

        Raises:
            LIIFError: the corners, the scale or the size is invalid.
        """
        corners, size = _check_region(region)
        share = min(1, math.sqrt(MAX_PREVIEW / (size[0] * size[1])))
        size = max(1, int(size[0] * share)), max(1, int(size[1] * share))
        # Reduce the image by an integer factor first, so that the network processes fewer pixels.
        natural = natural_size(corners)
        factor = max(1, min(natural[0] // size[0], natural[1] // size[1]))
        left, top, right, bottom = self._bounding_box(corners, MARGIN * factor)
        part = LoadedImage(np.asarray(self.image.reduce(factor, (left, top, right, bottom))))
        to_image = scaling((factor, factor)) + [[0, 0, left], [0, 0, top], [0, 0, 0]]
        warp = Homography(rectification(corners, size) @ to_image, size)
        rectangle = np.concatenate(list(self.warpers[region.method].strips(part, warp, 0, progress)))
        file = io.BytesIO()
        Image.fromarray(rectangle).save(file, "PNG", compress_level=1)
        return file.getvalue()

    def save(self, region: Region, file: IO[bytes], progress: Progress) -> None:
        """Write a rectified region to a PNG file, as the command `warp --quad` does.

        Args:
            progress: see `preview`.

        Raises:
            LIIFError: the corners, the scale or the size is invalid, or the rectangle does not fit into memory.
        """
        corners, size = _check_region(region)
        warper, image = self.warpers[region.method], self.source
        check_memory("rectangle", warper.bytes_needed(image, size, whole=False), "select a smaller region")
        strips = warper.strips(image, Homography(rectification(corners, size), size), 0, progress)
        BY_SUFFIX[".png"].write(file, strips, (*size, image.shape[2]), image)

    def _bounding_box(self, corners: np.ndarray, margin: int) -> tuple[int, int, int, int]:
        """Return the box (left, top, right, bottom) around the corners, with a margin and clipped to the image.

        The box is at least one pixel wide and high.
        """
        size = np.array(self.image.size)
        first = np.clip(np.floor(corners.min(axis=0)) - margin, 0, size - 1).astype(int)
        last = np.clip(np.ceil(corners.max(axis=0)) + margin, first + 1, size).astype(int)
        return int(first[0]), int(first[1]), int(last[0]), int(last[1])


def _check_region(region: Region) -> tuple[np.ndarray, tuple[int, int]]:
    """Return a region's corners and its size (H, W) when rectified. Raise LIIFError if the region is invalid."""
    corners = check_quad(region.corners)
    size = scaled_size(natural_size(corners), check_scale(region.scale))
    if size[0] * size[1] > MAX_SAVED:
        raise LIIFError(
            f"rectangle of {show_size(size)}: is too large for the page, which saves at most {MAX_SAVED >> 20} "
            "megapixels; choose a smaller scale, or use the command `warp`"
        )
    return corners, size
