"""What all networks here share: an encoder, and a decoder that answers coordinates on its feature grid."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr import render
from liif_basicsr.coords import make_cell, make_coord
from liif_basicsr.errors import LIIFError
from liif_basicsr.options import Field, check_block, choice, number, optional

FIELDS = {
    "input_skip": Field(optional(choice("bilinear"))),
    "scale": Field(number(0)),
}


class ContinuousNetwork(nn.Module):
    """A network that enlarges a picture by any factor.

    Pictures are in [0, 1] outside; the official normalisation to [-1, 1] lies within.

    Args:
        encoder: see `liif_basicsr.encoders`.
        decoder: a module with
            `forward(feat, coord, cell)`: (B, C, h, w), (B, Q, 2), (B, Q or 1, 2) to (B, Q, 3) in [-1, 1];
            and the same for the rows and columns of a picture, in three steps:
            `project(feat, rel_cell)`: what is done once, (B, C, h, w) to (B, h, w, D), given cell * (h, w);
            `axes(y, x, in_size, cell)`: the `Axis` of the rows y (R,) and of the columns x (C,), their `index`
            being into the whole input of in_size (h, w);
            `decode_block(grid, rows, cols)`: (h, w, D) and these to (R, C, 3) in [-1, 1];
            `reach(in_size, size)`: how many features around a query's neighbours it uses.
        input_skip: `bilinear` adds the answer to the bilinearly enlarged input (as LTE does, Lee and Jin,
            CVPR 2022; in neither LIIF's nor Meta-SR's paper); None does not.
        scale: what `net(lq)` enlarges by.

    Raises:
        LIIFError: an input_skip or a scale that does not exist.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, input_skip: str | None, scale: float) -> None:
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
            LIIFError: a size below 1 or a window that does not lie in the picture.
        """
        part = render.check_window(size, window)
        return torch.cat([self._render_one(picture[None], size, part) for picture in lq])

    def _render_one(self, lq: Tensor, size: tuple[int, int], window: render.Window) -> Tensor:
        in_size = (lq.shape[-2], lq.shape[-1])
        cell = make_cell(size, lq.device)
        decoder = self.decoder

        def encode(tile: Tensor) -> Tensor:
            return decoder.project(self.encode(tile), cell * cell.new_tensor(in_size))[0]

        def decode(grid: Tensor, origin: tuple[int, int], y: Tensor, x: Tensor) -> Tensor:
            axes = decoder.axes(y, x, in_size, cell)
            rows, cols = (axis._replace(index=axis.index - first) for axis, first in zip(axes, origin, strict=True))
            answer = decoder.decode_block(grid, rows, cols).permute(2, 0, 1) * 0.5
            coord = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)
            return answer + self._base(lq, coord[None])[0]

        radius = self.encoder.receptive_radius
        halo = None if radius is None else radius + decoder.reach(in_size, size)
        return render.render(lq, size, window, encode, decode, halo)
