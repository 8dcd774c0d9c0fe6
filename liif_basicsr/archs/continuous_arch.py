"""What all networks here share: an encoder, and a decoder that gives the colour at any coordinate."""
from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.decoders.base import Colours, Decoder
from liif_basicsr.config.checks import choice, number, optional
from liif_basicsr.config.options import Field, check_block
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import tiles
from liif_basicsr.rendering.bands import bilinear
from liif_basicsr.rendering.coordinates import make_cell, make_coord
from liif_basicsr.rendering.encoded_image import EncodedImage
from liif_basicsr.rendering.features import FeatureTiles, encode_tiles
from liif_basicsr.rendering.memory import check_memory
from liif_basicsr.rendering.tiles import Tile, Tiling, View, Window, check_size, check_window

FIELDS = {
    "input_skip": Field(optional(choice("bilinear"))),
    "scale": Field(number(0)),
}


def check_image(lq: Tensor) -> None:
    """Raise LIIFError for what is no batch of images."""
    if lq.ndim != 4 or lq.shape[1] != 3:
        raise LIIFError(f"lq must be (B, 3, h, w), not {tuple(lq.shape)}")


class ContinuousNetwork(nn.Module):
    """A network that enlarges an image by any factor, and gives its colour at any place.

    Images are in [0, 1] outside; the official normalisation to [-1, 1] lies within.

    Args:
        encoder: see `liif_basicsr.archs.encoders`.
        decoder: see `liif_basicsr.archs.decoders.base.Decoder`.
        input_skip: `bilinear` adds the output to the bilinearly enlarged input (as LTE does, Lee and Jin,
            CVPR 2022; in neither LIIF's nor Meta-SR's paper); None does not.
        scale: what `net(lq)` enlarges by.

    Attributes:
        tiling: how `render` and `sample` cut an image to bound their memory.

    Raises:
        LIIFError: an input_skip or a scale that does not exist.
    """

    tiling = Tiling()

    def __init__(self, encoder: Any, decoder: Decoder, input_skip: str | None, scale: float) -> None:
        super().__init__()
        check_block({"input_skip": input_skip, "scale": scale}, FIELDS, "network_g")
        self.encoder = encoder
        self.decoder = decoder
        self.input_skip = input_skip
        self.scale = scale
        self.to(memory_format=torch.channels_last)  # as the inputs are, so that gradients have the strides of weights

    def forward(self, lq: Tensor, coord: Tensor | None = None, cell: Tensor | None = None) -> Tensor:
        """Colours at coordinates, or, given none, the image enlarged by `scale`.

        Without coordinates it renders, in bounded memory and without gradients, in evaluation mode or under
        `torch.no_grad`; unless, in the former, `lq` itself asks for a gradient.

        Args:
            lq: (B, 3, h, w) RGB in [0, 1].
            coord: (B, Q, 2), (y, x) in [-1, 1].
            cell: (B, Q, 2) or (B, 1, 2), the size of a queried pixel, (2 / H, 2 / W).

        Returns:
            (B, Q, 3) RGB in [0, 1] (not clamped), or (B, 3, H, W) without `coord`.
        """
        check_image(lq)
        if coord is not None:
            if cell is None:
                who = type(self).__name__
                raise LIIFError(f"{who}: coord is given without cell; give the size of a queried pixel, (2 / H, 2 / W)")
            return self.query(lq, coord, cell)
        size = (round(lq.shape[-2] * self.scale), round(lq.shape[-1] * self.scale))
        if not torch.is_grad_enabled() or not (self.training or lq.requires_grad):
            return self.render(lq, size)
        coord = make_coord(size, lq.device).expand(len(lq), -1, -1)
        cell = self.decoder.image_cell(make_cell(size, lq.device), (lq.shape[-2], lq.shape[-1]))
        output = self.query(lq, coord, cell.expand(len(lq), 1, -1))
        return output.mT.unflatten(2, size)

    def query(self, lq: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """`forward` with coordinates."""
        return self._finish(self.decoder(self.encode(lq), coord, cell), lq, coord)

    def encode(self, lq: Tensor) -> Tensor:
        """The feature grid: (B, 3, h, w) in [0, 1] to (B, C, h, w)."""
        # Convolutions like channels-last memory best.
        return self.encoder(((lq - 0.5) / 0.5).contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def render(
        self, lq: Tensor, size: tuple[int, int], window: tuple[int, int, int, int] | None = None
    ) -> Tensor:
        """Enlarge an image, in memory that depends on neither its size nor the output's.

        Args:
            lq: (B, 3, h, w) RGB in [0, 1].
            size: (H, W) of the whole enlarged image.
            window: (top, left, height, width): the part of it to return; all of it by default.

        Returns:
            (B, 3, H, W), or (B, 3, height, width), RGB in [0, 1] (not clamped).

        Raises:
            LIIFError: a size below 1, a window that does not lie in the image, or a result that does not fit memory.
        """
        check_image(lq)
        size, part = check_size(size), check_window(size, window)
        if lq.device.type == "cpu":
            needed = 3 * len(lq) * part.height * part.width * lq.element_size()
            check_memory(f"size {tuple(size)}", needed, "for a window at a time")
        images = [self._render_one(image[None], size, part) for image in lq]
        return images[0] if len(images) == 1 else torch.cat(images)

    @torch.no_grad()
    def sample(
        self, lq: Tensor, coord: Tensor, cell: Tensor, fill: float = 0.0, return_mask: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Colours at any places, each with a cell of its own, in bounded memory and without gradients.

        Args:
            lq: (B, 3, h, w) RGB in [0, 1].
            coord: (B, Q, 2), (y, x); the image spans [-1, 1].
            cell: (B, Q, 2) or (B, 1, 2), the size of a queried pixel, (2 / H, 2 / W).
            fill: what places beyond [-1, 1] get.
            return_mask: also return which places lie in the image.

        Returns:
            (B, Q, 3) RGB in [0, 1] (not clamped); what `forward` gives, to rounding. With `return_mask` also
            (B, Q) bool, true where a place lies in [-1, 1] along both axes.
        """
        check_image(lq)
        cell = cell.expand(-1, coord.shape[1], -1)
        colours = torch.cat([
            # Each tile is needed once: nothing is kept.
            self.encode_image(lq[k : k + 1], 0, self.tiling.tile).sample(coord[k : k + 1], cell[k : k + 1], fill)
            for k in range(len(lq))
        ])  # fmt: skip
        return (colours, (coord.abs() <= 1).all(-1)) if return_mask else colours

    def encode_image(self, lq: Tensor, max_bytes: int = 1 << 30, tile: int | None = None) -> EncodedImage:
        """Prepare to render many windows of one image, in any sizes, whose features are computed once.

        Args:
            lq: (1, 3, h, w) RGB in [0, 1].
            max_bytes: features that are kept in memory; what else is needed is computed again.
            tile: input pixels along an edge of what is encoded at a time.
        """
        check_image(lq)
        features = encode_tiles(lq, self._receptive_radius, self._prepare, max_bytes, tile)
        return EncodedImage(features, partial(self._render_one, lq), partial(self._sample_one, lq))

    def _prepare(self, lq: Tensor) -> Tensor:
        """What is computed once for an image: its features, and what the decoder makes of them alone."""
        return self.decoder.prepare(self.encode(lq))

    @property
    def _receptive_radius(self) -> int | None:
        """Of what `_prepare` computes, in input pixels; None where it is unbounded."""
        radius = self.encoder.receptive_radius
        return None if radius is None else radius + self.decoder.prepare_halo

    def _finish(self, output: Tensor, lq: Tensor, coord: Tensor) -> Tensor:
        """A decoder's (B, Q, 3) in [-1, 1], brought to [0, 1] or added to the input."""
        if self.input_skip is None:
            return output * 0.5 + 0.5
        return output * 0.5 + self._skip(lq, coord[:, None])[:, :, 0].mT

    @staticmethod
    def _skip(lq: Tensor, coord: Tensor) -> Tensor:
        """The bilinearly enlarged input at coord (B, R, C, 2): (B, 3, R, C)."""
        exact = torch.promote_types(lq.dtype, torch.float32)  # in half precision coordinates would be pixels off
        grid = coord.flip(-1).to(exact)
        skip = F.grid_sample(lq.to(exact), grid, mode="bilinear", padding_mode="border", align_corners=False)
        return skip.to(lq.dtype)

    def _render_one(
        self, lq: Tensor, size: tuple[int, int], window: Window, features: FeatureTiles | None = None
    ) -> Tensor:
        radius, halo = self._receptive_radius, self.decoder.halo((lq.shape[-2], lq.shape[-1]), size)
        if radius is None and features is None:
            features = self.encode_image(lq).features

        def decode_tile(tile: Tensor, view: View) -> tuple[Colours, int]:
            prepared = tile if features is not None else self._prepare(tile)
            colours = self.decoder.decode(prepared, view)
            pixel_bytes = self.decoder.floats_per_pixel * prepared.element_size()
            # Fused ReLUs make 0 of what is not a number; adding this keeps it visible.
            nan_mark = prepared.sum(dtype=torch.float32) * 0
            if self.input_skip is None:
                return (lambda rows, cols: colours(rows, cols) * 0.5 + (0.5 + nan_mark)), pixel_bytes
            origin, (th, tw) = view.tile.origin, tile.shape[-2:]
            exact = torch.promote_types(lq.dtype, torch.float32)
            skip = bilinear(lq[0, :, origin[0] : origin[0] + th, origin[1] : origin[1] + tw].to(exact) + nan_mark, view)

            def added(rows: slice, cols: slice) -> Tensor:
                return skip(rows, cols).add_(colours(rows, cols), alpha=0.5)

            return added, pixel_bytes

        if features is not None:
            return tiles.render(features, size, window, decode_tile, halo, self.tiling, features.along)
        return tiles.render(lq, size, window, decode_tile, halo + (radius or 0), self.tiling)

    def _sample_one(self, lq: Tensor, prepared: Tensor, coord: Tensor, cell: Tensor, tile: Tile) -> Tensor:
        """Colours (1, Q, 3) at places whose features lie in a tile."""
        return self._finish(self.decoder.query(prepared, coord, cell, tile), lq, coord)
