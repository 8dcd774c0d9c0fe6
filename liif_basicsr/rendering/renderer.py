"""The renderer: computes a network's output for one image, at any output size or position, in bounded memory."""
from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from liif_basicsr.devices import exact_float32, gpu_memory_errors, never_compiled
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.coordinates import Window, check_window
from liif_basicsr.rendering.features import BlendedFeatures, Features, Region, autocast_dtype
from liif_basicsr.rendering.queries import PixelAxis, PixelGrid, Queries
from liif_basicsr.rendering.separable import bilinear

if TYPE_CHECKING:
    from liif_basicsr.archs.base import ContinuousNetwork

# Minimum number of features that `sample` adds on every side of a tile. Queries near the tile's edge depend on them.
MARGIN = 4


class EncodedImage:
    """An image that a network renders at any output size or samples at any position; see `encode_image`.

    Args:
        net: the network.
        lq: (1, C, h, w) in [0, 1], the image.
        max_bytes: maximum size of the cached features in bytes; see `ContinuousNetwork.encode_image`.
        tile: edge length of a tile in input pixels; None for the default. Ignored if the receptive field is unbounded.
        threads: number of torch threads for encoding; None uses the current number.
        features: the output of `net.encode_and_prepare` for this image, if it has been computed already.

    Attributes:
        in_size: (h, w) of the image.

    Warns:
        UserWarning: the encoder's receptive field is unbounded, and the image is too large to encode as a whole. It is
            encoded in blended tiles, and results are approximate.
    """

    def __init__(
        self,
        net: ContinuousNetwork,
        lq: Tensor,
        max_bytes: int,
        tile: int | None,
        threads: int | None,
        features: Tensor | None = None,
    ) -> None:
        self.net, self.lq = net, lq
        if net.decoder.is_global:  # computing the context visits every tile several times
            max_bytes = max(max_bytes, memory.CACHE_BYTES)
        tile = tile or (memory.CACHED_TILE if max_bytes else net.tiling.tile)
        encode, radius, (h, w) = net.encode_and_prepare, net.receptive_radius, (lq.shape[-2], lq.shape[-1])
        if features is not None:
            self.features = Features(lq, lambda part: features, 0, max(h, w), 0)
        elif radius is not None:
            self.features = Features(lq, encode, radius, tile, max_bytes or None, threads)
        elif h * w <= memory.WHOLE_PIXELS:
            self.features = Features(lq, encode, 0, max(h, w), max_bytes, threads)
        else:
            warnings.warn(
                f"the encoder has no receptive_radius, and an image of {h}x{w} is too large to encode as a whole; "
                "it is encoded in blended tiles, which approximates the exact result",
                stacklevel=3,
            )
            self.features = BlendedFeatures(lq, encode, memory.BLEND_OVERLAP, memory.BLENDED_TILE, max_bytes, threads)
        self.in_size = (h, w)
        # All tiles in the same rows share one `PixelAxis` and its cache, and so do those in the same columns. Later
        # windows use them again.
        self._axis = lru_cache(memory.CACHED_AXES)(PixelAxis)
        self._contexts: OrderedDict[Any, Any] = OrderedDict()

    @never_compiled
    @torch.no_grad()
    def render(self, size: tuple[int, int], window: tuple[int, int, int, int] | None = None) -> Tensor:
        """Render the image, or a window of it, at any output size.

        The image is encoded in overlapping tiles, and the output pixels of each tile are decoded in blocks. Tiles and
        blocks change the result only by rounding, except if the image is encoded in blended tiles. For arguments and
        errors see `ContinuousNetwork.render`.

        Returns:
            (1, D, height, width), nominally in [0, 1]; values are not clamped.
        """
        size, window = check_window(size, window)
        if self.lq.device.type == "cpu":
            needed = self.net.num_out_ch * window.height * window.width * self.lq.element_size()
            memory.check_memory(f"size {size}", needed, "render one window at a time")
        remedy = "choose a smaller size, or render one window at a time"
        with gpu_memory_errors(f"size {size}", remedy), exact_float32(self.lq.device):
            context = self.context(size)
            out = self.lq.new_empty(1, self.net.num_out_ch, window.height, window.width)
            for rows, cols in self._tiles(size, window):
                top, left = rows.outputs.start - window.top, cols.outputs.start - window.left
                target = out[0, :, top : top + len(rows.outputs), left : left + len(cols.outputs)]
                self._render_tile(rows, cols, size, context, target)
        return out

    def context(self, size: tuple[int, int]) -> Any:
        """Return the decoder's context for a whole output of `size` (H, W), or None if the decoder is not global.

        The context is computed once per size and precision.
        """
        if not self.net.decoder.is_global:
            return None
        key = (size, autocast_dtype(self.lq.device.type))
        if key not in self._contexts:

            def blocks() -> Iterator[tuple[Tensor, Queries]]:
                for rows, cols in self._tiles(size, Window(0, 0, *size)):
                    features, pixels = self._open_tile(rows, cols, size, None)
                    yield from ((features, pixels.queries(*block)) for block in pixels.blocks)

            self._contexts[key] = self.net.decoder.context(blocks)
            if len(self._contexts) > memory.CACHED_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return self._contexts[key]

    def _tiles(self, size: tuple[int, int], window: Window) -> Iterator[tuple[Span, Span]]:
        """Yield the rows and columns of each tile of a window of the output."""
        tile, halo = self.net.tiling.tile, self.net.decoder.halo(self.in_size, size)
        for rows in spans(size[0], self.in_size[0], window.top, window.height, tile, halo):
            for cols in spans(size[1], self.in_size[1], window.left, window.width, tile, halo):
                yield rows, cols

    def _open_tile(self, rows: Span, cols: Span, size: tuple[int, int], context: Any) -> tuple[Tensor, PixelGrid]:
        """Return the features and the output pixels of one tile."""
        features, (top, left) = self.features.region(rows.inputs, cols.inputs)
        th, tw = features.shape[-2:]
        bytes_per_pixel = self.net.decoder.floats_per_pixel * features.element_size()
        default = memory.CPU_BLOCK_BYTES if self.lq.device.type == "cpu" else memory.GPU_BLOCK_BYTES
        block_pixels = max(1, (self.net.tiling.block_bytes or default) // bytes_per_pixel)
        (h, w), max_scale, device = self.in_size, self.net.decoder.max_scale, self.lq.device
        y = self._axis(rows.outputs, size[0], h, top, th, max_scale, device)
        x = self._axis(cols.outputs, size[1], w, left, tw, max_scale, device)
        return features, PixelGrid(y, x, block_pixels, context)

    def _render_tile(self, rows: Span, cols: Span, size: tuple[int, int], context: Any, target: Tensor) -> None:
        """Decode the output pixels of one tile, and write them to `target` (D, height, width)."""
        features, pixels = self._open_tile(rows, cols, size, context)
        # This is NaN if a feature is NaN, else 0. It is added to the output, because fused ReLUs turn NaN into 0.
        nan_mark = features.sum(dtype=torch.float32) * 0
        skip: Iterator[Tensor] = repeat(0.5 + nan_mark)
        if self.net.input_skip is not None:
            y, x = pixels.y, pixels.x
            part = self.lq[0, :, y.first : y.first + y.count, x.first : x.first + x.count]
            upscaled = bilinear if self.net.input_skip == "bilinear" else nearest
            # In half precision, coordinates would be off by whole pixels.
            skip = upscaled(part.to(torch.promote_types(part.dtype, torch.float32)) + nan_mark, pixels)
        decoded = zip(pixels.blocks, self.net.decoder.decode(features, pixels), strict=True)
        for ((i, j), block), base in zip(decoded, skip, strict=False):
            torch.add(base, block, alpha=0.5, out=target[:, i, j])

    @never_compiled
    @torch.no_grad()
    def sample(self, coord: Tensor, cell: Tensor, fill: float = 0.0) -> Tensor:
        """Return the network's output (1, Q, D) at arbitrary positions; see `ContinuousNetwork.sample`.

        Args:
            coord, cell: (1, Q, 2), one cell for each position.
            fill: value of positions outside the image.
        """
        with gpu_memory_errors(f"{coord.shape[1]} positions", "sample fewer at a time"), exact_float32(self.lq.device):
            out = torch.full((*coord.shape[:2], self.net.num_out_ch), fill, dtype=self.lq.dtype, device=coord.device)
            inside = (coord.abs() <= 1).all(-1)[0].nonzero()[:, 0]
            size, edge = coord.new_tensor(self.in_size), torch.tensor(self.features.tile, device=coord.device)
            position = ((coord[0, inside] + 1) / 2 * size).clamp_min(0).minimum(size - 1)
            row, col = (position / edge).floor().long().unbind(-1)
            # Sort the queries by tile, so that each tile is encoded once.
            number, order = (row * (1 << 20) + col).sort(stable=True)
            numbers, counts = number.unique_consecutive(return_counts=True)
            tiles = list(zip(numbers.tolist(), inside[order].split(counts.tolist()), strict=True))

            def regions() -> Iterator[tuple[Tensor, Region]]:
                for tile, queries in tiles:
                    row_of_tile, col_of_tile = divmod(tile, 1 << 20)
                    yield queries, self.tile_region(row_of_tile, col_of_tile, cell[:, queries])

            def blocks() -> Iterator[tuple[Tensor, Queries]]:
                for queries, region in regions():
                    chunks = self._chunks(region, coord[:, queries], cell[:, queries], None)
                    yield from ((region.features, chunk) for chunk in chunks)

            context = self.net.decoder.context(blocks) if self.net.decoder.is_global and tiles else None
            for queries, region in regions():
                out[:, queries] = self.query(region, coord[:, queries], cell[:, queries], context).to(out.dtype)
        return out

    def tile_region(self, row: int, col: int, cell: Tensor | None = None) -> Region:
        """Return the features of one tile with the margin on which queries in the tile depend.

        Args:
            row, col: position of the tile in the grid of tiles, from (0, 0).
            cell: (1, Q, 2), the cells of the queries. May be None if no cell is larger than an input pixel.
        """
        margin = MARGIN
        if cell is not None and cell.numel():
            height, width = (max(1, math.floor(2 / float(cell[..., k].max()))) for k in (0, 1))
            margin += self.net.decoder.halo(self.in_size, (height, width))
        th, tw = self.features.tile
        h, w = self.in_size
        rows = range(max(0, row * th - margin), min(h, (row + 1) * th + margin))
        cols = range(max(0, col * tw - margin), min(w, (col + 1) * tw + margin))
        features, origin = self.features.region(rows, cols)
        return Region(features.contiguous(memory_format=torch.channels_last), origin)

    @torch.no_grad()
    def query(self, region: Region, coord: Tensor, cell: Tensor, context: Any) -> Tensor:
        """Return the network's output (1, Q, D) at coordinates in one tile.

        Args:
            region: the tile's features, from `tile_region`.
            coord, cell: (1, Q, 2), in the whole image, as for `sample`.
            context: see `Decoder.context`.
        """
        outputs = [
            self.net.denormalize(self.net.decoder.query(region.features, queries), self.lq, queries.coord)
            for queries in self._chunks(region, coord, cell, context)
        ]
        return torch.cat(outputs, dim=1)

    def _chunks(self, region: Region, coord: Tensor, cell: Tensor, context: Any) -> Iterator[Queries]:
        """Divide queries into the chunks that are decoded at a time."""
        shape = (region.features.shape[-2], region.features.shape[-1])
        chunks = zip(coord.split(memory.SAMPLE_QUERIES, 1), cell.split(memory.SAMPLE_QUERIES, 1), strict=True)
        for own_coord, own_cell in chunks:
            yield Queries(own_coord, own_cell, self.in_size, region.origin, shape, context)


def open_images(net: ContinuousNetwork, lq: Tensor) -> Iterator[EncodedImage]:
    """Yield an `EncodedImage` for each image of a batch (B, C, h, w).

    Small images are encoded together, in groups with at most as many pixels as one tile.
    """
    tile, (h, w) = net.tiling.tile, lq.shape[-2:]
    for part in lq.split(tile**2 // (h * w) if max(h, w) <= tile else 1):
        features = None
        if len(part) > 1:
            where = f"{len(part)} images of {h}x{w}"
            with gpu_memory_errors(where, "pass fewer images at a time"), exact_float32(lq.device):
                features = net.encode_and_prepare(part).split(1)
        for k, image in enumerate(part.split(1)):
            yield EncodedImage(net, image, 0, tile, None, features and features[k])


def nearest(image: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
    """Upscale a region (C, th, tw) by nearest-neighbor interpolation; yield (C, r, c) for each block of `pixels`."""
    rows, cols = pixels.y.corners((0,))[0][0], pixels.x.corners((0,))[0][0]
    for i, j in pixels.blocks:
        yield image.index_select(1, rows[i]).index_select(2, cols[j])


class Span(NamedTuple):
    """The extent of a tile along one axis: its output pixels, and the input pixels on which they depend."""

    outputs: range
    inputs: range


def spans(n_out: int, n_in: int, start: int, length: int, tile: int, halo: int) -> Iterator[Span]:
    """Cut the output pixels from `start` to `start + length` along one axis into tiles of about `tile` input pixels.

    Args:
        n_out, n_in: number of pixels along the axis in the whole output and in the whole input.
        halo: how many input pixels on each side an output pixel depends on, in addition to the two next to it.
    """
    count = min(length, max(1, math.ceil(length * n_in / n_out / tile)))
    for k in range(count):
        a, b = start + length * k // count, start + length * (k + 1) // count
        # From the input pixel before the first output's center to the one after the last output's center, and one more
        # on either side, because rounding in float32 may move a center across the edge of an input pixel.
        low = ((2 * a + 1) * n_in - n_out) // (2 * n_out) - 1
        high = ((2 * b - 1) * n_in - n_out) // (2 * n_out) + 2
        yield Span(range(a, b), range(max(0, low - halo), min(n_in, high + 1 + halo)))
