"""LIIF: a continuous picture from an encoder and a local implicit image function."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr import render
from liif_basicsr.archs.decoder import LocalImplicitDecoder
from liif_basicsr.coords import make_cell, make_coord
from liif_basicsr.encoders import build_encoder
from liif_basicsr.errors import LIIFError
from liif_basicsr.options import Field, boolean, check_block, choice, integer, list_of, number, optional

FIELDS = {
    "hidden_dims": Field(list_of(integer(1))),
    **dict.fromkeys(("local_ensemble", "feat_unfold", "cell_decode"), Field(boolean)),
    "input_skip": Field(optional(choice("bilinear"))),
    "scale": Field(number(0)),
}


class LIIF(nn.Module):
    """A network that enlarges a picture by any factor (Chen, Liu, Wang, CVPR 2021).

    Differs from the official code: pictures are in [0, 1] outside, the official normalisation to [-1, 1] lies
    within; the decoder is the exact fast form, see `LocalImplicitDecoder`.

    Args:
        encoder: `type` (see `liif_basicsr.encoders`) and its arguments.
        hidden_dims: widths of the MLP's hidden layers.
        local_ensemble, feat_unfold, cell_decode: see `LocalImplicitDecoder`.
        input_skip: `bilinear` adds the answer to the bilinearly enlarged input (as LTE does, Lee and Jin,
            CVPR 2022; not in the LIIF paper); None does not.
        scale: what `net(lq)` enlarges by.

    Raises:
        LIIFError: an encoder, an argument or an input_skip that does not exist.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        hidden_dims: list[int] | tuple[int, ...] = (256, 256, 256, 256),
        local_ensemble: bool = True,
        feat_unfold: bool = True,
        cell_decode: bool = True,
        input_skip: str | None = None,
        scale: float = 4,
    ) -> None:
        super().__init__()
        given = {key: value for key, value in locals().items() if key in FIELDS}
        check_block(given, FIELDS, "network_g")
        self.encoder = build_encoder(encoder)
        self.decoder = LocalImplicitDecoder(
            self.encoder.out_channels, list(hidden_dims), local_ensemble, feat_unfold, cell_decode
        )
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
        if coord is not None:
            if cell is None:
                raise LIIFError("LIIF: coord is given without cell; give the size of one output pixel, (2 / H, 2 / W)")
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
        if self.input_skip is None:
            return answer + 0.5
        return answer + self._skip(lq, coord[:, None])[:, :, 0].mT

    @staticmethod
    def _skip(lq: Tensor, coord: Tensor) -> Tensor:
        """The input, bilinearly enlarged, at coord (B, R, C, 2): (B, 3, R, C)."""
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
            LIIFError: a size below 1 or a window that does not lie in the picture.
        """
        part = render.check_window(size, window)
        return torch.cat([self._render_one(picture[None], size, part) for picture in lq])

    def _render_one(self, lq: Tensor, size: tuple[int, int], window: render.Window) -> Tensor:
        h, w = lq.shape[-2:]
        decoder = self.decoder
        rel_cell = make_cell(size, lq.device) * lq.new_tensor([h, w])

        def encode(tile: Tensor) -> Tensor:
            return decoder.project(self.encode(tile), rel_cell)[0]

        def decode(grid: Tensor, origin: tuple[int, int], y: Tensor, x: Tensor) -> Tensor:
            rows, cols = decoder.axis(y, h), decoder.axis(x, w)
            rows, cols = rows._replace(index=rows.index - origin[0]), cols._replace(index=cols.index - origin[1])
            answer = decoder.decode_block(grid, rows, cols).permute(2, 0, 1) * 0.5
            return answer + (0.5 if self.input_skip is None else self._skip(lq, torch.cartesian_prod(y, x).view(1, len(y), len(x), 2))[0])

        radius = self.encoder.receptive_radius
        halo = None if radius is None else radius + decoder.kernel_size // 2
        return render.render(lq, size, window, encode, decode, halo)
