"""An encoded image seen through a warp: each tile of its features is taken up once for all pixels that lie there."""
from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.rendering.encoded_image import EncodedImage, FeaturePart
from liif_basicsr.rendering.tiles import Window
from liif_basicsr.rendering.warps import Places, Queries, Warp, queries

# Output pixels along an edge of what is looked at at a time.
BLOCK = 128

Number = tuple[int, int]


@torch.no_grad()
def render_warped(
    image: EncodedImage, warp: Warp, window: Window, done: Callable[[int], object] = lambda count: None
) -> Tensor:
    """A window of a warped image, in memory that depends on the window alone.

    Where the warp shrinks, a pixel is the mean of several queries, as many as the warp's Jacobian asks for; the cell of
    a query is as large as its own part of the pixel.

    Args:
        done: is told the number of pixels that have been made since it was last called.

    Returns:
        (4, height, width) float32: RGB in [0, 1] (not clamped) times how much of a pixel lies in the image, and that.
    """
    if warp.enlarges(image.in_size):
        seen = image.render(warp.size, window)[0].float()
        done(window.height * window.width)
        return torch.cat([seen, torch.ones_like(seen[:1])])
    out = torch.zeros(window.height * window.width, 4, device=image.features.device)
    blocks, left = defaultdict(list), Counter[Window]()
    for block in _blocks(window):
        tiles = list(_tiles(image, warp.places(block)))
        for tile in tiles:
            blocks[tile].append(block)
        left[block] = len(tiles)
        if not tiles:
            done(block.height * block.width)
    for tile in sorted(blocks):
        part = image.part(*tile)
        for block in blocks[tile]:
            _add(out, image, part, tile, warp.places(block), _numbers(block, window))
            left[block] -= 1
            if not left[block]:
                done(block.height * block.width)
        del part
    return out.T.unflatten(1, (window.height, window.width))


def _add(
    out: Tensor, image: EncodedImage, part: FeaturePart, tile: Number, places: Places, numbers: np.ndarray
) -> None:
    """Add the colours of those queries of a block that lie in a tile to their pixels in `out` (pixels, 4)."""
    size, edge = np.array(image.in_size), np.array(image.features.tile)
    low, high = np.array(tile) * edge - 0.5, (np.array(tile) + 1) * edge - 0.5
    # What reaches beyond the image is asked for at its border.
    low, high = np.where(low < 0, -np.inf, low), np.where(high >= size - 0.5, np.inf, high)
    for found in queries(places.within(low, high), image.in_size):
        own = found.take(np.all((found.position >= low) & (found.position < high), axis=-1))
        if not len(own.number):
            continue
        coord, cell = _coordinates(own, size, out.device)
        colours = image.query(part, coord, cell)[0].float()
        share = torch.from_numpy(own.share).to(out.device, torch.float32)[:, None]
        number = torch.from_numpy(numbers[own.number]).to(out.device)
        out.index_add_(0, number, torch.cat([colours * share, share], 1))


def _coordinates(own: Queries, size: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Positions and extents in pixels as coordinates and cells (1, M, 2).

    At whole numbers they equal `make_coord` to the bit: at the border, LIIF's ensemble depends on the last one.
    """
    position, radius = own.position.astype(np.float32), 1 / size
    coord = ((-1 + radius).astype(np.float32) + (2 * radius).astype(np.float32) * position).clip(-1, 1)
    cell = (own.extent * 2 / size).astype(np.float32)
    return torch.from_numpy(coord).to(device)[None], torch.from_numpy(cell).to(device)[None]


def _blocks(window: Window) -> Iterator[Window]:
    """Cut a window into blocks."""
    for i in range(0, window.height, BLOCK):
        for j in range(0, window.width, BLOCK):
            height, width = min(BLOCK, window.height - i), min(BLOCK, window.width - j)
            yield Window(window.top + i, window.left + j, height, width)


def _numbers(block: Window, window: Window) -> np.ndarray:
    """Which pixel of the window each pixel of a block is, counted row by row."""
    rows = np.arange(block.height)[:, None] + (block.top - window.top)
    return (rows * window.width + np.arange(block.width) + (block.left - window.left)).ravel()


def _tiles(image: EncodedImage, places: Places) -> Iterator[Number]:
    """The tiles that pixels may need."""
    size, edge = np.array(image.in_size), np.array(image.features.tile)
    low, high = places.within(np.full(2, -0.5), size - 0.5).box()
    if len(low):
        first, last = (
            ((at + 0.5).clip(0, size - 1) // edge).astype(np.int64) for at in (low.min(axis=0), high.max(axis=0))
        )
        for row in range(first[0], last[0] + 1):
            yield from ((row, col) for col in range(first[1], last[1] + 1))
