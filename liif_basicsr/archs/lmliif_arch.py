"""LM-LIIF (He, Jin: Latent Modulated Function for Computational Optimal Continuous Image Representation, CVPR 2024)."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork, Decoder, UpscaleFactor, linear_layers
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

    Differs from the official code: inputs and outputs are in [0, 1], and the network itself normalizes them to [-1, 1].
    Whole images are decoded feature by feature; see `LMLIIFDecoder`. Controllable Multi-Scale Rendering is not
    implemented.

    Args:
        encoder: the encoder's `type` and arguments; see `liif_basicsr.archs.encoders`.
        latent_dims: widths of the hidden layers of the latent MLP (`hypernet` in the official code), which runs at low
            resolution.
        render_dim: width of the hidden layers of the render MLP (`imnet` in the official code).
        render_depth: number of hidden layers of the render MLP.
        local_ensemble: average the predictions of the four features around a position. Otherwise, use only the
            prediction of the nearest feature.
        feat_unfold: feed each feature together with its 3x3 neighborhood to the latent MLP.
        cell_decode: feed the size of the queried pixel to both MLPs.
        mod_input: feed a latent of `render_dim` numbers to the render MLP; otherwise, the feature itself.
        mod_scale: let the latent MLP predict a scale for each hidden unit of the render MLP.
        mod_shift: let the latent MLP predict a shift for each hidden unit of the render MLP.
        max_scale: largest training scale. Beyond it, whole images are decoded with the cell of this scale. ~ always
            uses the actual cell. Cells passed with coordinates are never changed.
        input_skip: `bilinear` adds the output to the bilinearly upscaled input; ~ returns the output alone.
        scale: default upscaling factor, which `net(lq)` uses.
        num_in_ch: number of input channels.
        num_out_ch: number of output channels.

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
        scale: UpscaleFactor = 4,
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
    """LM-LIIF's decoder. Outputs and gradients equal those of the paper's formula up to rounding.

    There are two MLPs. The latent MLP runs once per feature. It predicts a small latent, and a scale and a shift for
    each hidden unit of the render MLP. The render MLP, modulated by these scales and shifts, runs for each feature
    around a query. It receives the latent, the relative coordinate and the relative cell.

    The first layer of the latent MLP is computed as a 3x3 convolution of the feature grid; the term of the cell is
    added to the result. The first layer of the render MLP is linear, so the terms of the latent and the cell are also
    computed once per feature. Queries gather these terms. In whole images, the render MLP of a feature runs once, on
    all pixels that use the feature.

    Args:
        in_channels: number of channels of the feature grid.
        latent_dims and the other arguments: see `LMLIIF`.

    Source: LM-LIIF, section 3. The parameters have the layout of the official code.
    """

    floats_per_pixel = 40  # three copies of the four predictions for a pixel; `FeatureMLPs` bounds its own memory

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
        # `num_feat_in` and `num_render_in` are the numbers of inputs of the latent and the render MLP before the
        # coordinate and the cell. The latent MLP returns `num_mod` scales and shifts, then the latent.
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
        """The render MLP's weights for the relative coordinate, (render_dim, 2)."""
        return self.layers[0].weight[:, self.num_render_in : self.num_render_in + 2]

    def prepare(self, feat: Tensor) -> Tensor:
        """Return the features' term of the latent MLP's first layer. Without `mod_input`, append the features."""
        first = self.latent[0]
        hidden = unfolded_linear(feat, first.weight[:, : self.num_feat_in], first.bias, 2 * self.prepare_halo + 1)
        return hidden if self.mod_input else torch.cat([hidden, feat.to(hidden.dtype)], dim=1)

    def query(self, prepared: Tensor, queries: Queries) -> Tensor:
        """See `Decoder.query`.

        If all queries of an image have the same cell, the latent MLP runs once per feature. If the cells differ, it
        runs for each query and each of the features around the query. (For different cells, the official code still
        runs it once per feature, with the cell of just one query.) On a GPU, cells are not compared, because that would
        wait for the device: pass a cell that all queries share as (B, 1, 2).
        """
        index, rel_y, rel_x = queries.corners(self.sides)
        grid, rel_cell = prepared.permute(0, 2, 3, 1), queries.rel_cell
        can_compare = rel_cell.device.type == "cpu" and not torch.compiler.is_compiling()
        if rel_cell.shape[1] == 1 or can_compare and (rel_cell == rel_cell[:, :1]).all():
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
        """Decode in blocks. In each block, a feature's render MLP runs once, on all pixels that use the feature."""
        grid, device = prepared[0].permute(1, 2, 0).flatten(0, 1), prepared.device
        rest = fused_mlp(list(self.latent)[1:], grid)
        # Split the features, because intermediate values take several times the memory of the result.
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
        """Apply the rest of the latent MLP to the output of its first layer, starting with the ReLU."""
        for layer in list(self.latent)[1:]:
            hidden = layer(F.relu(hidden))
        return hidden

    def cell_term(self, layer: nn.Linear, rel_cell: Tensor, dtype: torch.dtype) -> Tensor | float:
        """Return the cell's contribution (..., D) to a layer whose last two inputs are the cell.

        Without `cell_decode`, the contribution is 0.
        """
        return linear_of_two(rel_cell, layer.weight[:, -2:]).to(dtype) if self.cell_decode else 0.0

    def modulate(self, prepared: Tensor, rel_cell: Tensor, rest: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute the per-feature terms of the render MLP.

        Args:
            prepared: (..., D), the output of `prepare`.
            rel_cell: (..., 2), cells relative to the features; broadcasts to `prepared`.
            rest: `rest_of_latent`, or a fused equivalent that may overwrite its input.

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
        """Split the output of `modulate`.

        Returns:
            start: (..., render_dim), output of the first layer without the coordinate's term.
            scale, shift: (..., render_depth, render_dim) each.
        """
        start, mod = modulated[..., : self.render_dim], modulated[..., self.render_dim :]
        scale, shift = mod.reshape(*mod.shape[:-1], 2, self.render_depth, self.render_dim).unbind(-3)
        return start, scale, shift
