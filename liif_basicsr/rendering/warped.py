"""An encoded image seen through a warp: each tile of its features is taken up once for all pixels that lie there."""
from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.rendering import memory
from liif_basicsr.rendering.coordinates import Window
from liif_basicsr.rendering.cubic import cubic
from liif_basicsr.rendering.features import Region
from liif_basicsr.rendering.renderer import EncodedImage
from liif_basicsr.rendering.warps import REACH, Places, Queries, Warp, queries

Number = tuple[int, int]


@torch.no_grad()
def render_warped(
    image: EncodedImage, warp: Warp, window: Window, done: Callable[[int], object] = lambda count: None
) -> Tensor:
    """A window of a warped image, in memory that depends on the window alone.

    Where a pixel is smaller than the input's, it is queried once, with a cell of its size there. Else it is queried
    several times, as often as the warp's Jacobian asks for, each with a cell of its part of the pixel, and what comes
    is reduced by a bicubic kernel as wide as four pixels, with which networks learn what a reduced image is.

    Args:
        done: called with the number of pixels made since the last call.

    Returns:
        (4, height, width) float32: RGB in [0, 1] (not clamped), and how much of a pixel lies in the image.
    """
    if warp.enlarges(image.in_size):
        seen = image.render(warp.size, window)[0].float()
        done(window.height * window.width)
        return torch.cat([seen, torch.ones_like(seen[:1])])
    canvas = Canvas(_widened(window, warp.size), image)
    blocks, left = defaultdict(list), Counter[Window]()
    for block in _blocks(canvas.window):
        tiles = list(_tiles(image, warp.places(block)))
        for tile in tiles:
            blocks[tile].append(block)
        left[block] = len(tiles)
    total, made = window.height * window.width, 0
    for tile in sorted(blocks):
        part = image.tile_region(*tile)
        for block in blocks[tile]:
            canvas.add(part, tile, warp.places(block), block)
            left[block] -= 1
            if not left[block]:
                finished = min(block.height * block.width, total - made)
                made += finished
                done(finished)
        del part
    done(total - made)
    return canvas.colours(window)


class Canvas:
    """A window of an output, and what has been added to each of its pixels: colours and weights, what lies inside.

    Args:
        window: of the output.
        image: what is seen in it.
    """

    def __init__(self, window: Window, image: EncodedImage) -> None:
        self.window, self.image = window, image
        self.sum = torch.zeros(window.height * window.width, 5, device=image.lq.device)

    def add(self, part: Region, tile: Number, places: Places, block: Window) -> None:
        """Add the colours of those queries of a block that lie in a tile of the image."""
        size, edge = np.array(self.image.in_size), np.array(self.image.features.tile)
        low, high = np.array(tile) * edge - 0.5, (np.array(tile) + 1) * edge - 0.5
        # What reaches beyond the image is asked for at its border.
        low, high = np.where(low < 0, -np.inf, low), np.where(high >= size - 0.5, np.inf, high)
        for found in queries(places.within(low, high), self.image.in_size):
            own = found.take(np.all((found.position >= low) & (found.position < high), axis=-1))
            if not len(own.number):
                continue
            coord, cell = _coordinates(own, size, self.sum.device)
            colours = self.image.query(part, coord, cell)[0].float()
            self._spread(torch.cat([colours, torch.ones_like(colours[:, :1])], 1), own, block)

    def _spread(self, values: Tensor, own: Queries, block: Window) -> None:
        """Add values (M, 4) to all pixels for which their queries count."""
        row, col = np.divmod(own.number, block.width)
        row, col = row + block.top - self.window.top, col + block.left - self.window.left
        inside = torch.from_numpy((own.inside * own.share).astype(np.float32)).to(values.device)
        self.sum[:, 4].index_add_(0, torch.from_numpy(row * self.window.width + col).to(values.device), inside)
        for i, j in product(range(-REACH, REACH + 1), repeat=2):
            weight = cubic(i - own.offset[:, 0]) * cubic(j - own.offset[:, 1]) * own.share
            y, x = row + i, col + j
            here = (weight != 0) & (y >= 0) & (y < self.window.height) & (x >= 0) & (x < self.window.width)
            if here.any():
                index = torch.from_numpy((y * self.window.width + x)[here]).to(values.device)
                factor = torch.from_numpy(weight[here].astype(np.float32)).to(values.device)[:, None]
                chosen = values if here.all() else values[torch.from_numpy(here).to(values.device)]
                self.sum[:, :4].index_add_(0, index, chosen * factor)

    def colours(self, window: Window) -> Tensor:
        """(4, height, width) of a window that lies in this one: RGB, and how much of each pixel lies in the image."""
        top, left = window.top - self.window.top, window.left - self.window.left
        part = self.sum.unflatten(0, (self.window.height, self.window.width))
        part = part[top : top + window.height, left : left + window.width].permute(2, 0, 1)
        seen = part[4:] > 0
        return torch.cat([torch.where(seen, part[:3] / torch.where(seen, part[3:4], 1), 0), part[4:]])


def _coordinates(own: Queries, size: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Positions and extents in pixels as coordinates and cells (1, M, 2).

    At whole numbers they equal `make_coord` to the bit: at the border, LIIF's ensemble depends on the last one.
    """
    position, radius = own.position.astype(np.float32), 1 / size
    coord = ((-1 + radius).astype(np.float32) + (2 * radius).astype(np.float32) * position).clip(-1, 1)
    cell = (own.extent * 2 / size).astype(np.float32)
    return torch.from_numpy(coord).to(device)[None], torch.from_numpy(cell).to(device)[None]


def _widened(window: Window, size: tuple[int, int]) -> Window:
    """A window with those pixels around it whose queries count for it."""
    top, left = max(0, window.top - REACH), max(0, window.left - REACH)
    bottom, right = min(size[0], window.top + window.height + REACH), min(size[1], window.left + window.width + REACH)
    return Window(top, left, bottom - top, right - left)


def _blocks(window: Window) -> Iterator[Window]:
    """Cut a window into blocks."""
    for i in range(0, window.height, memory.WARP_BLOCK):
        for j in range(0, window.width, memory.WARP_BLOCK):
            height, width = min(memory.WARP_BLOCK, window.height - i), min(memory.WARP_BLOCK, window.width - j)
            yield Window(window.top + i, window.left + j, height, width)


def _tiles(image: EncodedImage, places: Places) -> Iterator[Number]:
    """The tiles that pixels may need."""
    size, edge = np.array(image.in_size), np.array(image.features.tile)
    low, high = places.near(image.in_size).box()
    if len(low):
        first, last = (
            ((at + 0.5).clip(0, size - 1) // edge).astype(np.int64) for at in (low.min(axis=0), high.max(axis=0))
        )
        for row in range(first[0], last[0] + 1):
            yield from ((row, col) for col in range(first[1], last[1] + 1))
