"""A region of the image between four corners, made a rectangle: a preview for the page, and the file that it saves."""
from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.reading import LoadedImage
from liif_basicsr.images.warp import Warper, check_scale
from liif_basicsr.images.writing import BY_SUFFIX
from liif_basicsr.rendering.homographies import check_quad, natural_size, rectification, scaled_size, scaling
from liif_basicsr.rendering.memory import check_memory
from liif_basicsr.rendering.warps import Homography
from liif_basicsr.viewer.tiles import Tiles

# The most pixels of a preview, which take a processor seconds, and of a file that the page saves.
PREVIEW, MOST = 1 << 17, 1 << 26
# Pixels around the region that are encoded with it for a preview.
AROUND = 32

Done = Callable[[int], object]


class Region(NamedTuple):
    """What is to be rectified.

    method: the number of a network among the methods of `Tiles`.
    corners: four (x, y), as for the command `warp --quad`.
    scale: by what the rectangle is enlarged.
    """

    method: int
    corners: list[tuple[float, float]]
    scale: float


class Rectifier:
    """Rectifies regions of the image of some tiles, by their networks.

    Args:
        tiles: show the image; a preview is made of what they show.
        source: the file's own pixels and metadata; a saved file is made of them.
    """

    def __init__(self, tiles: Tiles, source: LoadedImage) -> None:
        self.image, self.source = tiles.image, source
        self.warpers = [Warper(net) for net in tiles.networks]

    def preview(self, region: Region, done: Done) -> bytes:
        """The rectangle as a PNG file, reduced to PREVIEW pixels where it has more.

        Args:
            done: is called now and then; what it raises ends the work.

        Raises:
            LIIFError: corners, a scale or a size that will not do.
        """
        corners, size = _checked(region)
        share = min(1, math.sqrt(PREVIEW / (size[0] * size[1])))
        size = max(1, int(size[0] * share)), max(1, int(size[1] * share))
        # What is to be reduced by much is reduced before by a whole number, of which the network sees less.
        natural = natural_size(corners)
        factor = max(1, min(natural[0] // size[0], natural[1] // size[1]))
        left, top, right, bottom = self._around(corners, AROUND * factor)
        pixels = np.asarray(self.image.reduce(factor, (left, top, right, bottom)))
        to_image = scaling((factor, factor)) + [[0, 0, left], [0, 0, top], [0, 0, 0]]
        warp = Homography(rectification(corners, size) @ to_image, size)
        made = np.concatenate(list(self.warpers[region.method].strips(pixels, warp, 0, done)))
        file = io.BytesIO()
        Image.fromarray(made).save(file, "PNG", compress_level=1)
        return file.getvalue()

    def save(self, region: Region, file: IO[bytes], done: Done) -> None:
        """Write the rectangle to a PNG file, as the command `warp --quad` does.

        Args:
            done: see `preview`.

        Raises:
            LIIFError: as `preview`, or a rectangle that does not fit memory.
        """
        corners, size = _checked(region)
        warper, pixels = self.warpers[region.method], self.source.pixels
        check_memory("rectangle", warper.bytes_needed(pixels, size, whole=False), "take a smaller region")
        strips = warper.strips(pixels, Homography(rectification(corners, size), size), 0, done)
        BY_SUFFIX[".png"].write(file, strips, (*size, pixels.shape[2]), self.source)

    def _around(self, corners: np.ndarray, margin: int) -> tuple[int, int, int, int]:
        """The part of the image that holds corners and a margin: left, top, right, bottom; at least a pixel."""
        size = np.array(self.image.size)
        first = np.clip(np.floor(corners.min(axis=0)) - margin, 0, size - 1).astype(int)
        last = np.clip(np.ceil(corners.max(axis=0)) + margin, first + 1, size).astype(int)
        return int(first[0]), int(first[1]), int(last[0]), int(last[1])


def _checked(region: Region) -> tuple[np.ndarray, tuple[int, int]]:
    """The corners of a region and the size (H, W) of its rectangle.

    Raises:
        LIIFError: corners, a scale or a size that will not do.
    """
    corners = check_quad(region.corners)
    size = scaled_size(natural_size(corners), check_scale(region.scale))
    if size[0] * size[1] > MOST:
        raise LIIFError(f"{size[0]}x{size[1]} is too large for the page, {MOST >> 20} megapixels at most; "
                        "take a smaller scale, or the command warp")  # fmt: skip
    return corners, size
