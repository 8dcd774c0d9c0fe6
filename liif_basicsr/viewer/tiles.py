"""An image as square tiles, at any level of zoom."""
from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from liif_basicsr.utils.precision import autocast, best_precision

# Screen pixels along an edge of a tile.
TILE = 256
# A level enlarges by 2 ** (1 / STEPS) more than the one before; level 0 is the image itself.
STEPS = 4
# The last level: a pixel of the image fills a tile.
MAX_LEVEL = 8 * STEPS
# Whole enlarged images are no longer than this: coordinates, in float32, then still tell pixels apart.
MAX_EDGE = 1 << 23
# Tiles that are kept, of at most 200 kB each.
MAX_TILES = 512

METHODS = ("liif", "bicubic")


class Tiles:
    """The tiles of one image, each enlarged by a network or by bicubic interpolation.

    Up to level 0 both are the image, downsampled by Pillow.

    Args:
        image: RGB.
        net: a `ContinuousNetwork`, in evaluation mode, on the device that is to do the work.
    """

    def __init__(self, image: Image.Image, net: Any) -> None:
        self.device = next(net.parameters()).device
        self.precision = best_precision(self.device, 8)
        edge = max(image.size)
        self.image = image
        self.min_level = min(0, math.floor(STEPS * math.log2(TILE / edge)))
        self.max_level = min(MAX_LEVEL, math.floor(STEPS * math.log2(MAX_EDGE / edge)))
        # In place: a large image takes gigabytes as floats.
        lq = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float().div_(255)
        self._opened = net.encode_image(lq)
        self.png = lru_cache(MAX_TILES)(self._png)

    def size(self, level: int) -> tuple[int, int]:
        """(H, W) of the whole image at a level; rounded up, for the page asks for whatever it sees a bit of."""
        scale = 2 ** (level / STEPS)
        height, width = (math.ceil(n * scale - 1e-6) for n in (self.image.height, self.image.width))
        return height, width

    def has(self, level: int, row: int, col: int) -> bool:
        """Whether there is such a tile."""
        if not self.min_level <= level <= self.max_level:
            return False
        height, width = self.size(level)
        return 0 <= row * TILE < height and 0 <= col * TILE < width

    def _png(self, method: str, level: int, row: int, col: int) -> bytes:
        """A tile that `has` tells of, as a PNG file; at the right and lower border the rest is transparent."""
        size = self.size(level)
        top, left = row * TILE, col * TILE
        window = (top, left, min(TILE, size[0] - top), min(TILE, size[1] - left))
        part = (self._liif if method == "liif" and level > 0 else self._bicubic)(size, window)
        if part.size != (TILE, TILE):
            whole = Image.new("RGBA", (TILE, TILE))
            whole.paste(part)
            part = whole
        file = io.BytesIO()
        part.save(file, "PNG", compress_level=1)
        return file.getvalue()

    def _liif(self, size: tuple[int, int], window: tuple[int, int, int, int]) -> Image.Image:
        with autocast(self.device, self.precision):
            colours = self._opened.render(size, window)[0].float()
        return Image.fromarray(colours.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy())

    def _bicubic(self, size: tuple[int, int], window: tuple[int, int, int, int]) -> Image.Image:
        top, left, height, width = window
        y, x = self.image.height / size[0], self.image.width / size[1]
        box = (left * x, top * y, (left + width) * x, (top + height) * y)
        # The box may end a rounding error outside.
        box = (*box[:2], min(box[2], self.image.width), min(box[3], self.image.height))
        return self.image.resize((width, height), Image.Resampling.BICUBIC, box)
