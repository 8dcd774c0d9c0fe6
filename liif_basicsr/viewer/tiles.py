"""Square tiles of an image at any zoom level, upscaled by several networks and by bicubic interpolation."""
from __future__ import annotations

import io
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from liif_basicsr.devices import autocast, best_precision, on_threads
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.memory import VIEWER_TILES
from liif_basicsr.rendering.renderer import EncodedImage

# Edge of a tile in device pixels.
TILE = 256
# Zoom levels per factor of two. Level 0 is the image itself.
STEPS = 2
# At the last level one pixel of the image fills a tile.
MAX_LEVEL = 8 * STEPS
# Longest edge of the upscaled image. If it were longer, float32 coordinates could not tell neighboring pixels apart.
MAX_EDGE = 1 << 23
# Longest edge of the overview.
OVERVIEW = 4096
# `detailed_spot` reduces the image's longest edge to SEARCHED pixels, and averages over windows of SPOT x SPOT pixels.
SEARCHED, SPOT = 256, 33
BICUBIC = "bicubic"


class Tiles:
    """Tiles of one image at every zoom level, upscaled by each network and by bicubic interpolation.

    At level 0, the tiles are cut from the image itself; below level 0, from the image reduced by Pillow.

    Args:
        image: RGB.
        networks: name on the page -> `ContinuousNetwork` in evaluation mode. All networks are on the same device.
        right: name of the network on the right when the page opens, or `bicubic`. The first network is on the left.
        clean: name of the network that is mixed into the others at a strength below 1, as in `upscale`; None for no
            mixing.

    Attributes:
        methods: names of the upscaling methods: the networks, then `bicubic`. Requests contain the index in this list.
        sides: indices of the methods on the left and on the right when the page opens.

    Raises:
        LIIFError: a network's input or output is not RGB.
    """

    def __init__(
        self, image: Image.Image, networks: Mapping[str, Any], right: str = BICUBIC, clean: str | None = None
    ) -> None:
        for name, net in networks.items():
            if (net.num_in_ch, net.num_out_ch) != (3, 3):
                raise LIIFError(
                    f"{name}: maps {net.num_in_ch} channels to {net.num_out_ch}, but the viewer needs RGB in and out; "
                    "choose another model"
                )
        self.networks, self.right, self.clean = networks, right, clean
        self.methods = [*networks, BICUBIC]
        self.sides = (0, self.methods.index(right))
        first = next(iter(networks.values()))
        self.device = next(first.parameters()).device
        self.precision = best_precision(self.device, 8)
        edge = max(image.size)
        self.image = image
        self.min_level = min(0, math.floor(STEPS * math.log2(TILE / edge)))
        self.max_level = min(MAX_LEVEL, math.floor(STEPS * math.log2(MAX_EDGE / edge)))
        # Divide in place: a large image takes gigabytes as floats.
        self._lq = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float().div_(255)
        # Features can take gigabytes, so they are kept only for two methods, one for each side of the page.
        self._encoded = lru_cache(len(self.sides))(self._encode)
        self.rgba = lru_cache(VIEWER_TILES)(self._rgba)

    def for_image(self, image: Image.Image) -> Tiles:
        """Return the tiles of another image for the same methods."""
        return Tiles(image, self.networks, self.right, self.clean)

    def mixable(self, method: int) -> bool:
        """Return whether a method can be shown at a strength below 1."""
        return self.clean is not None and self.methods[method] not in (self.clean, BICUBIC)

    def size(self, level: int) -> tuple[int, int]:
        """Return (H, W) of the whole image at a level, rounded up because the page shows partial tiles."""
        scale = 2 ** (level / STEPS)
        height, width = (math.ceil(n * scale - 1e-6) for n in (self.image.height, self.image.width))
        return height, width

    def has(self, level: int, row: int, col: int) -> bool:
        """Return whether a tile exists."""
        if not self.min_level <= level <= self.max_level:
            return False
        height, width = self.size(level)
        return 0 <= row * TILE < height and 0 <= col * TILE < width

    def overview(self) -> bytes:
        """Return the whole image as JPEG, at most OVERVIEW pixels long. The page shows it until tiles arrive."""
        scale = min(1, OVERVIEW / max(self.image.size))
        size = (max(1, round(self.image.width * scale)), max(1, round(self.image.height * scale)))
        file = io.BytesIO()
        self.image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2).save(file, "JPEG", quality=90)
        return file.getvalue()

    def _rgba(self, method: int, strength: int, level: int, row: int, col: int) -> bytes:
        """Return a tile as bytes: RGBA pixels, row by row. Pixels beyond the right and lower border are transparent.

        Args:
            strength: strength of the method, in percent.
        """
        if strength < 100 and level > 0:
            assert self.clean is not None
            strong, clean = (
                np.frombuffer(self.rgba(n, 100, level, row, col), np.uint8).astype(np.float32)
                for n in (method, self.methods.index(self.clean))
            )
            return (clean + (strong - clean) * (strength / 100)).round().astype(np.uint8).tobytes()
        size = self.size(level)
        top, left = row * TILE, col * TILE
        window = (top, left, min(TILE, size[0] - top), min(TILE, size[1] - left))
        bicubic = level <= 0 or self.methods[method] == BICUBIC
        part = self._bicubic(size, window) if bicubic else self._render(method, size, window)
        if part.size != (TILE, TILE):
            part = part.crop((0, 0, TILE, TILE))
        return part.tobytes()

    def _encode(self, method: int) -> EncodedImage:
        """Encode the image on all threads, even if only one thread decodes it later."""
        return self.networks[self.methods[method]].encode_image(self._lq, threads=torch.get_num_threads())

    def _render(self, method: int, size: tuple[int, int], window: tuple[int, int, int, int]) -> Image.Image:
        encoded = self._encoded(method)
        # If decoding is not faster on several threads, leave the other cores to the browser.
        uses_threads = self.networks[self.methods[method]].decoder.uses_threads
        with autocast(self.device, self.precision), on_threads(torch.get_num_threads() if uses_threads else 1):
            colors = encoded.render(size, window)[0].float()
        planes = colors.mul_(255).round_().clamp_(0, 255).byte().cpu().numpy()
        return Image.merge("RGBA", [*map(Image.fromarray, planes), Image.new("L", window[:1:-1], 255)])

    def _bicubic(self, size: tuple[int, int], window: tuple[int, int, int, int]) -> Image.Image:
        top, left, height, width = window
        y, x = self.image.height / size[0], self.image.width / size[1]
        box = (left * x, top * y, (left + width) * x, (top + height) * y)
        # Rounding errors must not move the end of the box beyond the image.
        box = (*box[:2], min(box[2], self.image.width), min(box[3], self.image.height))
        return self.image.resize((width, height), Image.Resampling.BICUBIC, box).convert("RGBA")


def detailed_spot(image: Image.Image) -> tuple[float, float]:
    """Return (x, y) in pixels of the most detailed spot of an image. Spots near the center are preferred."""
    scale = min(1, SEARCHED / max(image.size))
    width, height = (max(1, round(n * scale)) for n in image.size)
    gray = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2).convert("L"), np.float32)
    gradient = np.abs(np.diff(gray, axis=0, append=gray[-1:])) + np.abs(np.diff(gray, axis=1, append=gray[:, -1:]))
    detail = cv2.blur(gradient, (SPOT, SPOT), borderType=cv2.BORDER_CONSTANT)  # lower near the border
    y, x = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in (height, width))
    row, col = np.unravel_index(np.argmax((detail + 1e-3) * (2 - y[:, None] ** 2 - x**2)), detail.shape)
    return (col + 0.5) / width * image.width, (row + 0.5) / height * image.height
