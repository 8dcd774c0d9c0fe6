"""LM-LIIF (He, Jin: Latent Modulated Function for Computational Optimal Continuous Image Representation, CVPR 2024)."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork, Decoder, linear_layers
from liif_basicsr.archs.ensemble import ensemble_mean, gather, linear_of_two, unfolded_linear
from liif_basicsr.archs.registry import build_encoder, register_arch
from liif_basicsr.devices import upload
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import memory
from liif_basicsr.rendering.feature_mlps import FeatureMLPs, from_slots, sort_by_feature
from liif_basicsr.rendering.fused_mlp import fused_mlp
from liif_basicsr.rendering.queries import BOTH_SIDES, PixelGrid, Queries


@register_arch
class LMLIIF(ContinuousNetwork):
    """A network that upscales an image by any factor, in much less time than LIIF.

    Differs from the official code: images are in [0, 1], the official normalization to [-1, 1] is inside; whole images
    are decoded feature by feature, see `LMLIIFDecoder`; Controllable Multi-Scale Rendering is left out.

    Args:
        encoder: `type` and arguments of an encoder, see `liif_basicsr.archs.encoders`.
        latent_dims: widths of the hidden layers of the latent MLP at low resolution, the official `hypernet`.
        render_dim: width of the hidden layers of the render MLP, the official `imnet`.
        render_depth: number of hidden layers of the render MLP.
        local_ensemble: average the predictions of the four nearest features; otherwise take the nearest.
        feat_unfold: the latent MLP sees a feature with its 3x3 neighbors.
        cell_decode: both MLPs see the size of the queried pixel.
        mod_input: the render MLP sees a latent of render_dim numbers, otherwise the feature.
        mod_scale: the latent MLP predicts a scale for each unit of the render MLP.
        mod_shift: the latent MLP predicts a shift for each unit of the render MLP.
        max_scale: largest scale of training; whole images are decoded with cells no smaller than at this scale. ~ uses
            cells unchanged.
        input_skip: bilinear adds the output to the bilinearly upscaled input.
        scale: default upscaling factor, for `net(lq)`.
        num_in_ch: channels of the input.
        num_out_ch: channels of the output.

    Raises:
        LIIFError: an argument is unknown or invalid.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        latent_dims: Sequence[int] = (208,),
        render_dim: int = 16,
        render_depth: int = 6,
        local_ensemble: bool = True,
        feat_unfold: bool = True,
        cell_decode: bool = True,
        mod_input: bool = True,
        mod_scale: bool = True,
        mod_shift: bool = True,
        max_scale: Annotated[float, Field(ge=1)] | None = None,
        input_skip: Literal["bilinear"] | None = None,
        scale: float = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        if not (mod_input or mod_scale or mod_shift):
            raise LIIFError("network_g: mod_input, mod_scale and mod_shift are all false; set at least one to true")
        features = build_encoder(encoder, num_in_ch)
        decoder = LMLIIFDecoder(
            features.out_channels, latent_dims, render_dim, render_depth, local_ensemble, feat_unfold, cell_decode,
            mod_input, mod_scale, mod_shift, max_scale, num_out_ch,
        )  # fmt: skip
        super().__init__(features, decoder, input_skip, scale, num_in_ch, num_out_ch)


class LMLIIFDecoder(Decoder):
    """LM-LIIF's decoder, equal to the plain form to rounding in outputs and gradients.

    A latent MLP maps each feature to a small latent, and to a scale and a shift for each unit of a small render MLP. A
    query feeds the latents around it, relative coordinate and cell to the render MLP, modulated accordingly. The latent
    MLP's first layer is a 3x3 convolution, and its cell term joins the bias. The render MLP's first layer is linear, so
    its latent and cell terms are computed per feature as well. Queries gather the per-feature terms; in an image each
    feature's MLP processes together all pixels that see it.

    Args:
        in_channels: channels of the feature grid.
        others: see `LMLIIF`.

    Source: LM-LIIF, section 3. The parameters have the layout of the official code.
    """

    floats_per_pixel = 40  # the outputs of four corners, three times; `FeatureMLPs` bounds its own memory

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
        num_out_ch: int = 3,
    ) -> None:
        super().__init__()
        self.sides = BOTH_SIDES if local_ensemble else (0,)
        self.prepare_halo: int = 1 if feat_unfold else 0
        self.render_dim, self.render_depth = render_dim, render_depth
        self.cell_decode, self.mod_input, self.mod_scale, self.mod_shift = cell_decode, mod_input, mod_scale, mod_shift
        self.max_scale = max_scale
        # Inputs of each MLP before the coordinate and the cell; outputs of the latent MLP before the latent.
        self.num_feat_in = in_channels * (2 * self.prepare_halo + 1) ** 2
        self.num_render_in = render_dim if mod_input else in_channels
        self.num_mod = render_dim * render_depth * (mod_scale + mod_shift)
        cell = 2 if cell_decode else 0
        self.latent = linear_layers(
            [self.num_feat_in + cell, *latent_dims, self.num_mod + (render_dim if mod_input else 0)]
        )
        self.num_hidden = self.latent[0].out_features
        self.layers = linear_layers([self.num_render_in + 2 + cell, *[render_dim] * render_depth, num_out_ch])

    @property
    def coord_weight(self) -> Tensor:
        """The render MLP's weights of the relative coordinate, (render_dim, 2)."""
        return self.layers[0].weight[:, self.num_render_in : self.num_render_in + 2]

    def prepare(self, feat: Tensor) -> Tensor:
        """Compute the feature part of the latent MLP's first layer; without mod_input append the features."""
        first = self.latent[0]
        hidden = unfolded_linear(feat, first.weight[:, : self.num_feat_in], first.bias, 2 * self.prepare_halo + 1)
        return hidden if self.mod_input else torch.cat([hidden, feat.to(hidden.dtype)], dim=1)

    def query(self, prepared: Tensor, queries: Queries) -> Tensor:
        """See `Decoder.query`.

        Where all queries have one cell, as in training, the latent MLP runs once per feature, otherwise once per query
        and corner. (The official code uses the cell of one of the queries for a feature.) On a GPU cells are not
        compared, because that would wait for the device; pass a single cell as (B, 1, 2).
        """
        index, rel_y, rel_x = queries.corners(self.sides)
        grid, rel_cell = prepared.permute(0, 2, 3, 1), queries.rel_cell
        if rel_cell.shape[1] == 1 or _all_equal(rel_cell):
            picked = gather(self.modulate(grid, rel_cell[:, :1, None], self.rest_of_latent), index)
        else:
            picked = self.modulate(gather(grid, index), rel_cell, self.rest_of_latent)
        hidden, scale, shift = self.split(picked)
        weight_y, weight_x = self.coord_weight.T
        hidden = hidden + (rel_y[..., None] * weight_y + rel_x[..., None] * weight_x).to(hidden.dtype)
        for k, layer in enumerate(list(self.layers)[1:]):
            hidden = layer(F.relu(torch.addcmul(shift[..., k, :], hidden, scale[..., k, :])))
        return ensemble_mean(hidden, rel_y, rel_x)

    def decode(self, prepared: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Decode in blocks: each feature's MLP processes together all pixels that see it."""
        grid, device = prepared[0].permute(1, 2, 0).flatten(0, 1), prepared.device
        rest = fused_mlp(list(self.latent)[1:], grid)
        # In parts, because the intermediate values take several times the memory of the result.
        parts = grid.split(memory.LATENT_FEATURES)
        modulated = torch.cat([self.modulate(part, pixels.rel_cell, rest) for part in parts])
        mlps = FeatureMLPs(list(self.layers), self.coord_weight, *self.split(modulated))
        index_y, rel_y = pixels.y.corners_in_numpy(self.sides)
        index_x, rel_x = pixels.x.corners_in_numpy(self.sides)
        on_device_y, on_device_x = upload(rel_y, device)[:, None, :, None], upload(rel_x, device)[None, :, None]
        for rows, cols in pixels.blocks:
            y = sort_by_feature(index_y[:, rows], rel_y[:, rows], device)
            x = sort_by_feature(index_x[:, cols], rel_x[:, cols], device)
            outputs = from_slots(mlps(y, x, prepared.shape[-1]), y, x)
            yield ensemble_mean(outputs, on_device_y[:, :, rows], on_device_x[..., cols]).movedim(-1, 0)

    def rest_of_latent(self, hidden: Tensor) -> Tensor:
        """Apply the latent MLP from the ReLU after its first layer on."""
        for layer in list(self.latent)[1:]:
            hidden = layer(F.relu(hidden))
        return hidden

    def cell_term(self, layer: nn.Linear, rel_cell: Tensor, dtype: torch.dtype) -> Tensor | float:
        """Return the cell's contribution to a layer, as its last two inputs: (..., D), or 0 without cell_decode."""
        return linear_of_two(rel_cell, layer.weight[:, -2:]).to(dtype) if self.cell_decode else 0.0

    def modulate(self, prepared: Tensor, rel_cell: Tensor, rest: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute the per-feature terms of the render MLP.

        Args:
            prepared: (..., D) from `prepare`.
            rel_cell: (..., 2), cells relative to the features, of a shape that broadcasts.
            rest: `rest_of_latent` or its fused form, which may overwrite its input.

        Returns:
            (..., render_dim * (1 + 2 * render_depth)), the input of `split`.
        """
        first = self.layers[0]
        mod = rest(prepared[..., : self.num_hidden] + self.cell_term(self.latent[0], rel_cell, prepared.dtype))
        latent = mod[..., self.num_mod :] if self.mod_input else prepared[..., self.num_hidden :]
        start = F.linear(latent, first.weight[:, : self.num_render_in], first.bias)
        start = start + self.cell_term(first, rel_cell, start.dtype)
        units = self.render_dim * self.render_depth
        none = start.new_zeros(()).expand(*start.shape[:-1], units)
        scale = mod[..., :units] if self.mod_scale else none
        shift = mod[..., self.num_mod - units : self.num_mod] if self.mod_shift else none
        return torch.cat([start, scale + 1, shift], dim=-1)

    def split(self, modulated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split the output of `modulate` into the first layer without the coordinate's term, scales and shifts.

        Returns:
            (..., render_dim), and (..., render_depth, render_dim) twice.
        """
        start, mod = modulated[..., : self.render_dim], modulated[..., self.render_dim :]
        scale, shift = mod.reshape(*mod.shape[:-1], 2, self.render_depth, self.render_dim).unbind(-3)
        return start, scale, shift


def _all_equal(cell: Tensor) -> bool:
    """Whether all queries of each image have the same cell; False, without a check, on devices other than the CPU."""
    if cell.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return bool((cell == cell[:, :1]).all())
