"""What all networks here share: an encoder, and a decoder that answers coordinates on its feature grid."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.decoders.base import Decoder
from liif_basicsr.rendering.coordinates import make_cell, make_coord
from liif_basicsr.rendering.encoded_image import EncodedImage
from liif_basicsr.rendering.features import FeatureTiles, open_features
from liif_basicsr.rendering.tiles import Window, check_window
from liif_basicsr.rendering.tiles import render as render_tiles
from liif_basicsr.utils.errors import LIIFError
from liif_basicsr.utils.memory import check_memory
from liif_basicsr.utils.options import Field, check_block, choice, number, optional

FIELDS = {
    "input_skip": Field(optional(choice("bilinear"))),
    "scale": Field(number(0)),
}


def check_picture(lq: Tensor) -> None:
    """Raise LIIFError for what is no batch of pictures."""
    if lq.ndim != 4 or lq.shape[1] != 3:
        raise LIIFError(f"lq must be (B, 3, h, w), not {tuple(lq.shape)}")


class ContinuousNetwork(nn.Module):
    """A network that enlarges a picture by any factor.

    Pictures are in [0, 1] outside; the official normalisation to [-1, 1] lies within.

    Args:
        encoder: see `liif_basicsr.archs.encoders`.
        decoder: see `Decoder`.
        input_skip: `bilinear` adds the answer to the bilinearly enlarged input (as LTE does, Lee and Jin,
            CVPR 2022; in neither LIIF's nor Meta-SR's paper); None does not.
        scale: what `net(lq)` enlarges by.

    Raises:
        LIIFError: an input_skip or a scale that does not exist.
    """

    def __init__(self, encoder: Any, decoder: Decoder, input_skip: str | None, scale: float) -> None:
        super().__init__()
        check_block({"input_skip": input_skip, "scale": scale}, FIELDS, "network_g")
        self.encoder = encoder
        self.decoder = decoder
        self.input_skip = input_skip
        self.scale = scale

    def forward(self, lq: Tensor, coord: Tensor | None = None, cell: Tensor | None = None) -> Tensor:
        """Answer coordinates, or, given none, enlarge by `scale`.

        Args:
            lq: (B, 3, h, w) RGB in [0, 1].
            coord: (B, Q, 2), (y, x) in [-1, 1].
            cell: (B, Q, 2) or (B, 1, 2), the size of a queried pixel, (2 / H, 2 / W).

        Returns:
            (B, Q, 3) RGB in [0, 1] (not clamped), or (B, 3, H, W) without `coord`.
        """
        check_picture(lq)
        if coord is not None:
            if cell is None:
                who = type(self).__name__
                raise LIIFError(f"{who}: coord is given without cell; give the size of a queried pixel, (2 / H, 2 / W)")
            return self.query(lq, coord, cell)
        size = (round(lq.shape[-2] * self.scale), round(lq.shape[-1] * self.scale))
        if not torch.is_grad_enabled():
            return self.render(lq, size)
        coord = make_coord(size, lq.device).expand(len(lq), -1, -1)
        answer = self.query(lq, coord, make_cell(size, lq.device).expand(len(lq), 1, -1))
        return answer.mT.unflatten(2, size)

    def query(self, lq: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """`forward` with coordinates."""
        answer = self.decoder(self.encode(lq), coord, cell) * 0.5
        return answer + self._base(lq, coord[:, None])[:, :, 0].mT

    def _base(self, lq: Tensor, coord: Tensor) -> Tensor:
        """What the answer is added to, at coord (B, R, C, 2): (B, 3, R, C)."""
        if self.input_skip is None:
            return lq.new_full((1, 1, 1, 1), 0.5)
        grid = coord.flip(-1).to(lq.dtype)
        return F.grid_sample(lq, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def encode(self, lq: Tensor) -> Tensor:
        """The feature grid: (B, 3, h, w) in [0, 1] to (B, C, h, w)."""
        # Convolutions like channels-last memory best.
        return self.encoder(((lq - 0.5) / 0.5).contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def render(
        self, lq: Tensor, size: tuple[int, int], window: tuple[int, int, int, int] | None = None
    ) -> Tensor:
        """Enlarge a picture, in memory that depends on neither its size nor the output's.

        Args:
            lq: (B, 3, h, w) RGB in [0, 1].
            size: (H, W) of the whole enlarged picture.
            window: (top, left, height, width): the part of it to return; all of it by default.

        Returns:
            (B, 3, H, W), or (B, 3, height, width), RGB in [0, 1] (not clamped).

        Raises:
            LIIFError: a size below 1, a window that does not lie in the picture, or a result that does not fit memory.
        """
        check_picture(lq)
        part = check_window(size, window)
        if lq.device.type == "cpu":
            needed = 3 * len(lq) * part.height * part.width * lq.element_size()
            check_memory(f"size {tuple(size)}", needed, "for a window at a time")
        pictures = [self._render_one(picture[None], size, part) for picture in lq]
        return pictures[0] if len(pictures) == 1 else torch.cat(pictures)

    def encode_image(self, lq: Tensor, max_bytes: int = 1 << 30) -> EncodedImage:
        """Prepare to render many windows of one picture, in any sizes, whose features are computed once.

        Args:
            lq: (1, 3, h, w) RGB in [0, 1].
            max_bytes: features that are kept in memory; what else is needed is computed again.
        """
        check_picture(lq)
        return EncodedImage(open_features(lq, self.encoder, self.encode, max_bytes), partial(self._render_one, lq))

    def _render_one(
        self, lq: Tensor, size: tuple[int, int], window: Window, features: FeatureTiles | None = None
    ) -> Tensor:
        if features is None and self.encoder.receptive_radius is None:
            features = open_features(lq, self.encoder, self.encode)
        in_size = (lq.shape[-2], lq.shape[-1])
        cell = make_cell(size, lq.device)
        decoder = self.decoder

        def open_tile(
            tile: Tensor, origin: tuple[int, int], y: Tensor, x: Tensor
        ) -> tuple[Callable[[slice, slice], Tensor], int]:
            feat = tile if features is not None else self.encode(tile)
            grid = decoder.project(feat, cell * cell.new_tensor(in_size))[0]
            rows, cols = decoder.axes(y, x, in_size, cell)
            answer = decoder.on_grid(grid)

            def colours(i: slice, j: slice) -> Tensor:
                block = answer(rows.part(i, origin[0]), cols.part(j, origin[1])).permute(2, 0, 1) * 0.5
                coord = torch.stack(torch.meshgrid(y[i], x[j], indexing="ij"), dim=-1)
                return block + self._base(lq, coord[None])[0]

            return colours, decoder.numbers_per_pixel * grid.element_size()

        reach = decoder.reach(in_size, size)
        if features is not None:
            return render_tiles(features, size, window, open_tile, reach)
        return render_tiles(lq, size, window, open_tile, self.encoder.receptive_radius + reach)
