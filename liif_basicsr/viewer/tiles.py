"""An image as square tiles at any zoom level, by networks and by bicubic interpolation."""
from __future__ import annotations

import io
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from liif_basicsr.devices import autocast, best_precision, on_threads
from liif_basicsr.rendering.encoded_image import EncodedImage

# Device pixels along an edge of a tile.
TILE = 256
# Each level enlarges by 2 ** (1 / STEPS) times as much as the one before; level 0 is the image itself.
STEPS = 4
# The last level: a pixel of the image fills a tile.
MAX_LEVEL = 8 * STEPS
# Longest edge of the whole enlarged image: up to it, float32 coordinates distinguish neighbouring pixels.
MAX_EDGE = 1 << 23
# Tiles that are cached, of 256 kB each.
MAX_TILES = 512
BICUBIC = "bicubic"
# Longest edge of the overview.
OVERVIEW = 4096


class Tiles:
    """The tiles of one image, enlarged by any number of networks and by bicubic interpolation.

    Up to level 0, all methods give the image itself, reduced by Pillow.

    Args:
        image: RGB.
        networks: each a `ContinuousNetwork` in evaluation mode, by the names that the page shows; all on one device.
        right: the method that the page shows on its right side at first; on its left side it shows the first network.

    Attributes:
        methods: the names of the networks, then `bicubic`. Tiles are asked for by the number of a method.
        sides: the numbers of the methods that the page shows at first, left and right.
    """

    def __init__(self, image: Image.Image, networks: Mapping[str, Any], right: str = BICUBIC) -> None:
        self.methods = [*networks, BICUBIC]
        self.sides = (0, self.methods.index(right))
        self.networks = list(networks.values())
        self.device = next(self.networks[0].parameters()).device
        self.precision = best_precision(self.device, 8)
        edge = max(image.size)
        self.image = image
        self.min_level = min(0, math.floor(STEPS * math.log2(TILE / edge)))
        self.max_level = min(MAX_LEVEL, math.floor(STEPS * math.log2(MAX_EDGE / edge)))
        # Divided in place: a large image takes gigabytes as floats.
        lq = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float().div_(255)
        # The features of the methods that were shown last, one a side, are kept: gigabytes for a large image.
        self._encoded = lru_cache(len(self.sides))(lambda method: self._encode(self.networks[method], lq))
        self.rgba = lru_cache(MAX_TILES)(self._rgba)

    def size(self, level: int) -> tuple[int, int]:
        """(H, W) of the whole image at a level, rounded up: the page asks for every tile that it shows a part of."""
        scale = 2 ** (level / STEPS)
        height, width = (math.ceil(n * scale - 1e-6) for n in (self.image.height, self.image.width))
        return height, width

    def has(self, level: int, row: int, col: int) -> bool:
        """Whether a tile exists."""
        if not self.min_level <= level <= self.max_level:
            return False
        height, width = self.size(level)
        return 0 <= row * TILE < height and 0 <= col * TILE < width

    def overview(self) -> bytes:
        """The whole image, reduced if it is large, as a JPEG file: what the page shows until tiles arrive."""
        scale = min(1, OVERVIEW / max(self.image.size))
        size = (max(1, round(self.image.width * scale)), max(1, round(self.image.height * scale)))
        file = io.BytesIO()
        self.image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2).save(file, "JPEG", quality=90)
        return file.getvalue()

    def _rgba(self, method: int, level: int, row: int, col: int) -> bytes:
        """The pixels of a tile, four bytes each, row by row; transparent beyond the right and lower border."""
        size = self.size(level)
        top, left = row * TILE, col * TILE
        window = (top, left, min(TILE, size[0] - top), min(TILE, size[1] - left))
        bicubic = level <= 0 or self.methods[method] == BICUBIC
        part = self._bicubic(size, window) if bicubic else self._render(method, size, window)
        if part.size != (TILE, TILE):
            part = part.crop((0, 0, TILE, TILE))
        return part.tobytes()

    def _encode(self, net: Any, lq: Tensor) -> EncodedImage:
        """The image in a network, whose features are computed by all threads, whatever decodes them."""
        encoded = net.encode_image(lq)
        encoded.features.encode = on_threads(torch.get_num_threads())(encoded.features.encode)
        return encoded

    def _render(self, method: int, size: tuple[int, int], window: tuple[int, int, int, int]) -> Image.Image:
        encoded = self._encoded(method)
        # Where one thread is enough, the browser has use for the other cores.
        threads = torch.get_num_threads() if self.networks[method].decoder.uses_threads else 1
        with autocast(self.device, self.precision), on_threads(threads):
            colours = encoded.render(size, window)[0].float()
        planes = colours.mul_(255).round_().clamp_(0, 255).byte().cpu().numpy()
        return Image.merge("RGBA", [*map(Image.fromarray, planes), Image.new("L", window[:1:-1], 255)])

    def _bicubic(self, size: tuple[int, int], window: tuple[int, int, int, int]) -> Image.Image:
        top, left, height, width = window
        y, x = self.image.height / size[0], self.image.width / size[1]
        box = (left * x, top * y, (left + width) * x, (top + height) * y)
        # Rounding errors must not put the end of the box outside the image.
        box = (*box[:2], min(box[2], self.image.width), min(box[3], self.image.height))
        return self.image.resize((width, height), Image.Resampling.BICUBIC, box).convert("RGBA")
