"""What a decoder is: the module that turns a feature grid and coordinates into colours."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from liif_basicsr.rendering.coordinates import make_cell
from liif_basicsr.rendering.tiles import Tile, View

# A function of a slice of a view's rows and a slice of its columns to their colours, (3, r, c).
Colours = Callable[[slice, slice], Tensor]


class Decoder(nn.Module):
    """Turns features and coordinates into colours. An author writes `forward`; all else has a default.

    A decoder that can do part of its work once for all queries overrides `prepare`, `query` and `decode` together;
    outputs then equal the defaults to rounding.

    Attributes:
        prepare_halo: how many features around it each of `prepare`'s depends on.
        floats_per_pixel: about how many numbers a pixel of `decode` takes while it is computed; it sets the size of a
            block.
        uses_threads: whether `decode` is worth more than one thread where a small window is waited for.
    """

    prepare_halo = 0
    floats_per_pixel = 4096
    uses_threads = True

    def forward(self, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """Colours at coordinates.

        Args:
            feat: (B, C, h, w) feature grid.
            coord: (B, Q, 2) float32, (y, x) in [-1, 1].
            cell: (B, Q, 2) or (B, 1, 2) float32, the size of a queried pixel, (2 / H, 2 / W). As images are decoded in
                tiles, only cell * (h, w) has a meaning, its size in features (of which each is 2 wide).

        Returns:
            (B, Q, 3) in [-1, 1], not clamped.
        """
        return self.query(self.prepare(feat), coord, cell)

    def prepare(self, feat: Tensor) -> Tensor:
        """What depends on the features alone: (B, C, h, w) to (B, D, h, w). An image needs it once, at all scales."""
        return feat

    def query(self, prepared: Tensor, coord: Tensor, cell: Tensor, tile: Tile | None = None) -> Tensor:
        """`forward` from what `prepare` returns.

        Args:
            prepared: (B, D, h, w), of a whole image, or of a `tile` of one.
            coord, cell: as in `forward`, of the whole image.
        """
        if tile is not None:
            coord, cell = tile.local(coord, cell, (prepared.shape[-2], prepared.shape[-1]))
        return self.forward(prepared, coord, cell)

    def decode(self, prepared: Tensor, view: View) -> Colours:
        """Colours of whole rows and columns, without gradients.

        Args:
            prepared: (1, D, th, tw), a tile of what `prepare` returns.
            view: where the tile and the output pixels lie.
        """
        y, x = view.coord()
        cell = self.image_cell(make_cell(view.size, view.device), view.tile.in_size)[None, None]

        def colours(rows: slice, cols: slice) -> Tensor:
            coord = torch.stack(torch.meshgrid(y[rows], x[cols], indexing="ij"), dim=-1)
            out = self.query(prepared, coord.flatten(0, 1)[None], cell, view.tile)
            return out[0].mT.unflatten(1, coord.shape[:2])

        return colours

    def image_cell(self, cell: Tensor, in_size: tuple[int, int]) -> Tensor:
        """The cell that a whole image is decoded with; cells that are given with coordinates are taken as they are.

        Args:
            cell: (..., 2), the size of the image's pixels.
            in_size: (h, w) of the input.
        """
        return cell

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """How many of `prepare`'s features beyond the four around a coordinate an output of size (H, W) depends on."""
        return 2


def linear_layers(dims: Sequence[int]) -> nn.ModuleList:
    """The linear layers of an MLP, of these widths from its input to its output."""
    return nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in zip(dims, dims[1:], strict=False))
