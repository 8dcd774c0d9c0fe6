"""LIIF with latent modulation: an MLP at low resolution gives each feature a small MLP of its own."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.decoders.base import Colours, Decoder, linear_layers
from liif_basicsr.archs.decoders.ensemble import (
    SIDES,
    cell_in_features,
    limit_cell,
    linear_of_two,
    look_up_queries,
    mean_of_corners,
    pick,
)
from liif_basicsr.archs.decoders.feature_mlps import FeatureMLPs
from liif_basicsr.archs.decoders.unfolding import unfolded_linear
from liif_basicsr.rendering.coordinates import corners_of_pixels, make_cell
from liif_basicsr.rendering.fused_mlp import fused_mlp
from liif_basicsr.rendering.slots import from_slots, sort_by_feature
from liif_basicsr.rendering.tiles import Tile, View

# Features of an image that the latent MLP gets at a time.
FEATURES = 4096


class LMLIIFDecoder(Decoder):
    """LM-LIIF's decoder (He and Jin, CVPR 2024), equal to the plain form to rounding, in outputs and gradients.

    A latent MLP turns each feature into a latent of few numbers and, for each layer of a small render MLP, a scale
    and a shift of its units. A query feeds the latents around it, relative coordinate and cell to the render MLP so
    modulated. The latent MLP's first layer is a 3x3 convolution, and its cell part joins the bias; of the render
    MLP's first layer, which is linear, the latent's and the cell's part are of the feature, too. Queries gather what
    is of the feature; in an image each feature passes all coordinates that see it through its MLP together.

    Args:
        in_channels: channels of the feature grid.
        latent_dims: widths of the latent MLP's hidden layers.
        render_dim, render_depth: width and number of the render MLP's hidden layers.
        local_ensemble: average over the four nearest features, else take the nearest alone.
        feat_unfold: the latent MLP sees a feature with its 3x3 neighbours.
        cell_decode: both MLPs see the size of the queried pixel.
        mod_input: the render MLP sees a latent of render_dim numbers, else the feature.
        mod_scale, mod_shift: what the latent MLP gives for each unit of the render MLP.
        max_scale: see `limit_cell`; for whole images.

    Source: the paper and its official code, whose parameters these are, in their layout. Controllable Multi-Scale
    Rendering, the paper's approximation that decodes parts of an image at lower scales, is left out.
    """

    floats_per_pixel = 40  # the colours of four corners, three times; `FeatureMLPs` bounds by itself what it takes

    def __init__(
        self,
        in_channels: int,
        latent_dims: Sequence[int],
        render_dim: int,
        render_depth: int,
        local_ensemble: bool,
        feat_unfold: bool,
        cell_decode: bool,
        mod_input: bool,
        mod_scale: bool,
        mod_shift: bool,
        max_scale: float | None,
    ) -> None:
        super().__init__()
        self.sides = SIDES if local_ensemble else (0,)
        self.prepare_halo = 1 if feat_unfold else 0
        self.render_dim, self.render_depth = render_dim, render_depth
        self.cell_decode, self.mod_input, self.mod_scale, self.mod_shift = cell_decode, mod_input, mod_scale, mod_shift
        self.max_scale = max_scale
        # Inputs of each MLP before those of the coordinate and the cell; outputs of the latent one before the latent.
        self.num_feat_in = in_channels * (2 * self.prepare_halo + 1) ** 2
        self.num_render_in = render_dim if mod_input else in_channels
        self.num_mod = render_dim * render_depth * (mod_scale + mod_shift)
        cell = 2 if cell_decode else 0
        self.latent = linear_layers(
            [self.num_feat_in + cell, *latent_dims, self.num_mod + (render_dim if mod_input else 0)]
        )
        self.num_hidden = self.latent[0].out_features
        self.layers = linear_layers([self.num_render_in + 2 + cell, *[render_dim] * render_depth, 3])

    @property
    def coord_weight(self) -> Tensor:
        """The render MLP's weights of the relative coordinate, (render_dim, 2)."""
        return self.layers[0].weight[:, self.num_render_in : self.num_render_in + 2]

    def prepare(self, feat: Tensor) -> Tensor:
        """The features' part of the latent MLP's first layer, with its bias; if not mod_input the features, too."""
        first = self.latent[0]
        hidden = unfolded_linear(feat, first.weight[:, : self.num_feat_in], first.bias, 2 * self.prepare_halo + 1)
        return hidden if self.mod_input else torch.cat([hidden, feat.to(hidden.dtype)], dim=1)

    def image_cell(self, cell: Tensor, in_size: tuple[int, int]) -> Tensor:
        """The cell that a whole image is decoded with, see `limit_cell`."""
        return limit_cell(cell, in_size, self.max_scale)

    def latent_rest(self, hidden: Tensor) -> Tensor:
        """The latent MLP from the ReLU after its first layer on."""
        for layer in list(self.latent)[1:]:
            hidden = layer(F.relu(hidden))
        return hidden

    def cell_part(self, layer: nn.Linear, rel_cell: Tensor, dtype: torch.dtype) -> Tensor | float:
        """What a layer adds for cells (..., 2), its last two inputs if it has them: (..., D) or 0."""
        return linear_of_two(rel_cell, layer.weight[:, -2:]).to(dtype) if self.cell_decode else 0.0

    def modulate(self, prepared: Tensor, rel_cell: Tensor, rest: Callable[[Tensor], Tensor]) -> Tensor:
        """What makes the render MLP that of a feature.

        Args:
            prepared: (..., D) from `prepare`.
            rel_cell: (..., 2), cells relative to the features, of a shape that broadcasts.
            rest: `latent_rest`, or what equals it; it may overwrite its input.

        Returns:
            (..., render_dim * (1 + 2 * render_depth)); `split` takes it apart.
        """
        first = self.layers[0]
        mod = rest(prepared[..., : self.num_hidden] + self.cell_part(self.latent[0], rel_cell, prepared.dtype))
        latent = mod[..., self.num_mod :] if self.mod_input else prepared[..., self.num_hidden :]
        start = F.linear(latent, first.weight[:, : self.num_render_in], first.bias)
        start = start + self.cell_part(first, rel_cell, start.dtype)
        units = self.render_dim * self.render_depth
        none = start.new_zeros(()).expand(*start.shape[:-1], units)
        scale = mod[..., :units] if self.mod_scale else none
        shift = mod[..., self.num_mod - units : self.num_mod] if self.mod_shift else none
        return torch.cat([start, scale + 1, shift], dim=-1)

    def split(self, picked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of what `modulate` gives, the render MLP's first layer less the coordinate's part, scales and shifts.

        Returns:
            (..., render_dim), and (..., render_depth, render_dim) twice.
        """
        start, mod = picked[..., : self.render_dim], picked[..., self.render_dim :]
        scale, shift = mod.unflatten(-1, (2, self.render_depth, self.render_dim)).unbind(-3)
        return start, scale, shift

    def query(self, prepared: Tensor, coord: Tensor, cell: Tensor, tile: Tile | None = None) -> Tensor:
        """Colours at coordinates, see `Decoder.query`.

        Where the queries of an image have one cell, as in training, the latent MLP runs once for each feature, else
        once for each query and corner. (The official code shows a feature the cell of some query.) On a GPU, cells are
        not compared, for that would be waited for; one cell is given as (B, 1, 2).
        """
        size = (prepared.shape[-2], prepared.shape[-1])
        index, rel_y, rel_x = look_up_queries(coord, size, self.sides, tile)
        grid, rel_cell = prepared.permute(0, 2, 3, 1), cell_in_features(cell, size, tile)
        if cell.shape[1] == 1 or (cell.device.type == "cpu" and bool((cell == cell[:, :1]).all())):
            picked = pick(self.modulate(grid, rel_cell[:, :1, None], self.latent_rest), index)
        else:
            picked = self.modulate(pick(grid, index), rel_cell, self.latent_rest)
        hidden, scale, shift = self.split(picked)
        weight_y, weight_x = self.coord_weight.T
        hidden = hidden + (rel_y[..., None] * weight_y + rel_x[..., None] * weight_x).to(hidden.dtype)
        for k, layer in enumerate(list(self.layers)[1:]):
            hidden = layer(F.relu(torch.addcmul(shift[..., k, :], hidden, scale[..., k, :])))
        return mean_of_corners(hidden, rel_y, rel_x)

    def decode(self, prepared: Tensor, view: View) -> Colours:
        """Colours of whole rows and columns: each feature's MLP is given all coordinates that see it together."""
        grid, (in_size, origin), device = prepared[0].permute(1, 2, 0).flatten(0, 1), view.tile, view.device
        rel_cell = cell_in_features(self.image_cell(make_cell(view.size, device), in_size), in_size)
        rest = fused_mlp(list(self.latent)[1:], grid)
        # In parts, for what is between takes as much memory again, several times.
        modulated = torch.cat([self.modulate(part, rel_cell, rest) for part in grid.split(FEATURES)])
        mlps = FeatureMLPs(list(self.layers), self.coord_weight, *self.split(modulated))
        rows, cols = (
            corners_of_pixels(span, n_out, n_in, self.sides)
            for span, n_out, n_in in zip(view.spans, view.size, in_size, strict=True)
        )

        def colours(i: slice, j: slice) -> Tensor:
            (index_y, rel_y), (index_x, rel_x) = ([a[:, i] for a in rows], [a[:, j] for a in cols])
            y = sort_by_feature(index_y - origin[0], rel_y, device)
            x = sort_by_feature(index_x - origin[1], rel_x, device)
            far_y, far_x = (torch.from_numpy(rel).to(device) for rel in (rel_y, rel_x))
            outputs = from_slots(mlps(y, x, prepared.shape[-1]), y, x)
            return mean_of_corners(outputs, far_y[:, None, :, None], far_x[None, :, None]).movedim(-1, 0)

        return colours

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """None: an output depends on the four features around it."""
        return 0
