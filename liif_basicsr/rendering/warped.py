"""Render a warped image, encoding each tile of the input once for all output pixels that depend on it."""
from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.devices import exact_float32, gpu_memory_errors, upload
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.coordinates import Window
from liif_basicsr.rendering.cubic import cubic
from liif_basicsr.rendering.features import Region
from liif_basicsr.rendering.renderer import EncodedImage
from liif_basicsr.rendering.warps import KERNEL_RADIUS, PixelPositions, Samples, Warp, sample_pixels

TileIndex = tuple[int, int]


@torch.no_grad()
def render_warped(
    image: EncodedImage, warp: Warp, window: Window, done: Callable[[int], object] = lambda count: None
) -> Tensor:
    """Render a window of a warped image in memory that depends only on the window.

    A small output pixel is sampled once, with a cell of the pixel's size. A larger one is sampled at several positions,
    each with a cell for its part of the pixel; their number depends on the warp's Jacobian, see `sample_counts`. A
    bicubic kernel four output pixels wide combines the samples, as in the bicubic downsampling that networks are
    trained with. A global decoder uses the context (see `Decoder.context`) of an unwarped image of the output's size.

    Args:
        image: the image to warp.
        warp: the warp, which also sets the size of the whole output.
        window: the part of the output to return.
        done: function that is called with the number of pixels completed since the last call.

    Returns:
        (D + 1, height, width) float32: the D output channels, nominally in [0, 1] and not clamped, then the fraction of
        each pixel that is inside the image.
    """
    remedy = "choose a smaller size, or warp one window at a time"
    with gpu_memory_errors(f"size {warp.size}", remedy), exact_float32(image.lq.device):
        if warp.is_upscaling(image.in_size):
            values = image.render(warp.size, window)[0].float()
            done(window.height * window.width)
            return torch.cat([values, torch.ones_like(values[:1])])
        canvas = Canvas(_padded(window, warp.size), image, image.context(warp.size))
        blocks_of, tiles_left = defaultdict(list), Counter[Window]()
        for block in _blocks(canvas.window):
            tiles = list(_tiles(image, warp.pixel_positions(block)))
            for tile in tiles:
                blocks_of[tile].append(block)
            tiles_left[block] = len(tiles)
        total, completed = window.height * window.width, 0
        for tile in sorted(blocks_of):
            region = image.tile_region(*tile)
            for block in blocks_of[tile]:
                canvas.add(region, tile, warp.pixel_positions(block), block)
                tiles_left[block] -= 1
                if not tiles_left[block]:
                    new = min(block.height * block.width, total - completed)
                    completed += new
                    done(new)
            del region
        done(total - completed)
        return canvas.colors(window)


class Canvas:
    """Accumulates the samples for a window of the output.

    Stores for each pixel: the weighted sum of each channel, the sum of the weights, and the fraction inside the image.

    Args:
        window: the part of the output.
        image: the image to sample.
        context: see `Decoder.context`.
    """

    def __init__(self, window: Window, image: EncodedImage, context: Any) -> None:
        self.window, self.image, self.context = window, image, context
        self.sum = torch.zeros(window.height * window.width, image.net.num_out_ch + 2, device=image.lq.device)

    def add(self, region: Region, tile: TileIndex, pixels: PixelPositions, block: Window) -> None:
        """Add to the canvas the samples that a block of output pixels has in one tile of the image.

        Args:
            region: the tile's features, from `EncodedImage.tile_region`.
            tile: (row, column) of the tile in the grid of tiles.
            pixels: positions of the block's pixels in the image.
            block: the block, a part of the output.
        """
        size, edge = np.array(self.image.in_size), np.array(self.image.features.tile)
        low, high = np.array(tile) * edge - 0.5, (np.array(tile) + 1) * edge - 0.5
        # Samples outside the image are queried at its border.
        low, high = np.where(low < 0, -np.inf, low), np.where(high >= size - 0.5, np.inf, high)
        for samples in sample_pixels(pixels.overlapping(low, high), self.image.in_size):
            own = samples.select(np.all((samples.position >= low) & (samples.position < high), axis=-1))
            if not len(own.pixel):
                continue
            # One copy to the device for all numbers, and one for all indices.
            share = np.stack([own.share, own.inside * own.share], -1)
            numbers = np.concatenate([*_coordinates(own, size), own.offset, share], -1, dtype=np.float32)
            coord, cell, offset, share = upload(numbers, self.sum.device).split(2, -1)
            values = self.image.query(region, coord[None], cell[None], self.context)[0].float()
            row, col = np.divmod(own.pixel, block.width)
            pixel = np.stack([row + block.top - self.window.top, col + block.left - self.window.left])
            radius = KERNEL_RADIUS if own.offset.any() else 0  # at a pixel's center, the other pixels' kernels are 0
            values = torch.cat([values, torch.ones_like(values[:, :1])], 1)
            self._accumulate(values, upload(pixel, self.sum.device), offset, share[:, 0], share[:, 1], radius)

    def _accumulate(
        self, values: Tensor, pixel: Tensor, offset: Tensor, share: Tensor, inside: Tensor, radius: int
    ) -> None:
        """Add each sample to all pixels within the kernel's radius.

        Args:
            values: (M, D + 1), the channels of each sample, and the number 1, which yields the sum of the weights.
            pixel: (2, M), row and column of the sample's pixel in the window.
            offset: (M, 2), offset of the sample from the center of its pixel.
            share, inside: (M,), the fraction of its pixel that the sample covers, and the part of this fraction that is
                inside the image.
            radius: radius of the kernel in pixels along each axis.
        """
        row, col = pixel
        height, width = self.window.height, self.window.width
        self.sum[:, -1].index_add_(0, row * width + col, inside)
        for i, j in product(range(-radius, radius + 1), repeat=2):
            y, x = row + i, col + j
            valid = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            weight = cubic(i - offset[:, 0]) * cubic(j - offset[:, 1]) * share * valid
            index, own = y.clamp(0, height - 1) * width + x.clamp(0, width - 1), values
            if weight.device.type == "cpu":  # on a GPU, `nonzero` would wait for the number of weights
                used = weight.nonzero()[:, 0]
                index, weight, own = index[used], weight[used], own[used]
            self.sum[:, :-1].index_add_(0, index, own * weight[:, None])

    def colors(self, window: Window) -> Tensor:
        """Return the result for a part of the window, (D + 1, height, width), as `render_warped` does."""
        top, left = window.top - self.window.top, window.left - self.window.left
        part = self.sum.unflatten(0, (self.window.height, self.window.width))
        part = part[top : top + window.height, left : left + window.width].permute(2, 0, 1)
        total, inside = part[-2:-1], part[-1:]
        return torch.cat([torch.where(inside > 0, part[:-2] / torch.where(inside > 0, total, 1), 0), inside])


def _coordinates(samples: Samples, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert positions and extents in pixels to coordinates and cells, (M, 2) float32 each.

    At integer positions the coordinates are bit-identical to `make_coord`'s. This matters at the image's border, where
    the last bit decides which features LIIF's ensemble uses.
    """
    position, radius = samples.position.astype(np.float32), 1 / size
    coord = ((-1 + radius).astype(np.float32) + (2 * radius).astype(np.float32) * position).clip(-1, 1)
    return coord, (samples.extent * 2 / size).astype(np.float32)


def _padded(window: Window, size: tuple[int, int]) -> Window:
    """Extend a window by the surrounding pixels whose samples contribute to it."""
    top, left = max(0, window.top - KERNEL_RADIUS), max(0, window.left - KERNEL_RADIUS)
    bottom = min(size[0], window.top + window.height + KERNEL_RADIUS)
    right = min(size[1], window.left + window.width + KERNEL_RADIUS)
    return Window(top, left, bottom - top, right - left)


def _blocks(window: Window) -> Iterator[Window]:
    """Cut a window into blocks."""
    for i in range(0, window.height, memory.WARP_BLOCK):
        for j in range(0, window.width, memory.WARP_BLOCK):
            height, width = min(memory.WARP_BLOCK, window.height - i), min(memory.WARP_BLOCK, window.width - j)
            yield Window(window.top + i, window.left + j, height, width)


def _tiles(image: EncodedImage, pixels: PixelPositions) -> Iterator[TileIndex]:
    """Yield the tiles of the image that may contain samples of these pixels."""
    size, edge = np.array(image.in_size), np.array(image.features.tile)
    low, high = pixels.near_image(image.in_size).bounds()
    if len(low):
        first, last = (
            ((end + 0.5).clip(0, size - 1) // edge).astype(np.int64) for end in (low.min(axis=0), high.max(axis=0))
        )
        yield from product(*(range(start, stop + 1) for start, stop in zip(first, last, strict=True)))
