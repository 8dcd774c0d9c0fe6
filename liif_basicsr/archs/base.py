"""Base classes of all networks: `Decoder` and `ContinuousNetwork`."""
from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from liif_basicsr.devices import never_compiled
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.coordinates import corner_index, make_cell, make_coord
from liif_basicsr.rendering.memory import CACHE_BYTES, Tiling
from liif_basicsr.rendering.queries import PixelGrid, Queries
from liif_basicsr.rendering.renderer import EncodedImage, open_images

UpscaleFactor = Annotated[float, Field(gt=0)]


class Decoder(nn.Module, ABC):
    """Base class of decoders, which predict values from features at queried positions.

    Subclasses implement `query`; the other methods are optional. A decoder that can do part of its work once per image
    overrides `prepare`. A decoder that has a faster way to compute whole images overrides `decode`; its result must
    equal that of `query` up to rounding. A decoder whose values depend on all positions of an output sets `is_global`
    and implements `context`.

    Attributes:
        prepare_halo: receptive radius of `prepare` in features; None if it is unbounded.
        floats_per_pixel: approximate number of activations per pixel in `decode`; it determines the block size.
        uses_threads: whether `decode` benefits from several threads in small windows.
        max_scale: scale beyond which whole images are decoded with the cell of this scale instead of the actual cell.
            None sets no limit. The official test scripts of LTE and LM-LIIF set it to the largest training scale.
        is_global: whether a value depends on the other positions of the output, as with attention over the output.
    """

    prepare_halo: int | None = 0
    floats_per_pixel = 4096
    uses_threads = True
    max_scale: float | None = None
    is_global = False

    @abstractmethod
    def query(self, prepared: Tensor, queries: Queries) -> Tensor:
        """Return the values at arbitrary positions.

        Args:
            prepared: (B, C', th, tw), the output of `prepare` for a tile.
            queries: Q positions in each of the B images, with the indices and offsets of the features around them. A
                decoder with `is_global` treats them as the whole output if they have no `context`.

        Returns:
            (B, Q, D), D output channels, nominally in [-1, 1]; values are not clamped.
        """

    def context(self, blocks: Callable[[], Iterable[tuple[Tensor, Queries]]]) -> Any:
        """Return what `query` needs to know about the whole output; `query` receives it as `queries.context`.

        Only decoders with `is_global` implement this method. The memory that it uses must not grow with the number of
        blocks.

        Args:
            blocks: function that returns an iterator over the blocks of the whole output. A block is a pair (features,
                queries), the arguments of `query`.
        """
        raise NotImplementedError

    def prepare(self, feat: Tensor) -> Tensor:
        """Compute the terms that depend only on the features: (B, C, h, w) to (B, C', h, w). Runs once per image."""
        return feat

    def decode(self, prepared: Tensor, pixels: PixelGrid) -> Iterator[Tensor]:
        """Yield the values (D, r, c) of each block of `pixels.blocks`, without gradients.

        Args:
            prepared: (1, C', th, tw), the output of `prepare` for a tile.
            pixels: a window of output pixels.
        """
        for rows, cols in pixels.blocks:
            height, width = rows.stop - rows.start, cols.stop - cols.start
            yield self.query(prepared, pixels.queries(rows, cols))[0].mT.unflatten(1, (height, width))

    def halo(self, in_size: tuple[int, int], size: tuple[int, int]) -> int:
        """Return how many features on each side a pixel depends on, in addition to the four around it.

        Args:
            in_size: (h, w) of the input.
            size: (H, W) of the whole output.
        """
        return 0

    def forward(self, feat: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """Return the values (B, Q, D) in [-1, 1] at coordinates, from features (B, C, h, w) of the whole image.

        See `ContinuousNetwork.forward` for `coord` and `cell`.
        """
        return self.query(self.prepare(feat), Queries(coord, cell, (feat.shape[-2], feat.shape[-1])))

    def image_cell(self, cell: Tensor, in_size: tuple[int, int]) -> Tensor:
        """Return the cells (..., 2) for decoding a whole image: `cell`, but at least the cell at `max_scale`.

        Args:
            cell: (..., 2), size of an output pixel.
            in_size: (h, w) of the input.
        """
        if self.max_scale is None:
            return cell
        limits = [2 / (self.max_scale * n) for n in in_size]
        return torch.stack([cell[..., k].clamp(min=limits[k]) for k in (0, 1)], dim=-1)


class ContinuousNetwork(nn.Module):
    """An encoder and a decoder: a network that predicts an image's values at any coordinate.

    Inputs and outputs are in [0, 1]. As in the official code, the encoder and the decoder work in [-1, 1]; the network
    converts between the two ranges.

    Args:
        encoder: maps an image to a feature grid; see `liif_basicsr.archs.encoders`.
        decoder: predicts values from the feature grid.
        input_skip: "bilinear" adds the output to the bilinearly upscaled input, as in LTE. "nearest" adds it to the
            nearest input pixel, as in Thera. None returns the output alone, as in LIIF and Meta-SR.
        scale: default upscaling factor, which `net(lq)` uses.
        num_in_ch: number of input channels.
        num_out_ch: number of output channels.

    Attributes:
        tiling: how `render` and `sample` divide an image to bound their memory.
        value_range: (low, high), the numbers in the training data that were mapped to 0 and 1; None for 8-bit or 16-bit
            images and for data in [0, 1]. Only functions that take images or files use it.

    Raises:
        LIIFError: `input_skip` is unknown; or it is set although the numbers of input and output channels differ; or
            `scale` is not positive.
    """

    tiling = Tiling()
    value_range: tuple[float, float] | None = None

    def __init__(
        self,
        encoder: nn.Module,
        decoder: Decoder,
        input_skip: str | None = None,
        scale: UpscaleFactor = 4,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        super().__init__()
        if input_skip not in (None, "bilinear", "nearest"):
            raise LIIFError(f"network_g: input_skip: expected bilinear, nearest or ~, got {input_skip!r}")
        if input_skip and num_in_ch != num_out_ch:
            raise LIIFError(
                f"network_g: input_skip: needs equal numbers of channels, but num_in_ch is {num_in_ch} "
                f"and num_out_ch is {num_out_ch}; set input_skip: ~"
            )
        if not scale > 0:
            raise LIIFError(f"network_g: scale: expected a positive number, got {scale!r}")
        self.encoder = encoder
        self.decoder = decoder
        self.num_in_ch = num_in_ch
        self.num_out_ch = num_out_ch
        self.input_skip = input_skip
        self.scale = scale
        # Weights are channels-last like the inputs, so that gradients have the strides of the weights.
        self.to(memory_format=torch.channels_last)

    def forward(self, lq: Tensor, coord: Tensor | None = None, cell: Tensor | None = None) -> Tensor:
        """Return the values at `coord`. Without `coord`, return the whole image upscaled by `scale`.

        The whole image has gradients in training mode, and in evaluation mode if `lq` requires a gradient. Otherwise,
        and under `torch.no_grad`, `render` computes it without gradients in bounded memory.

        Args:
            lq: (B, C, h, w) in [0, 1].
            coord: (B, Q, 2), positions (y, x) in [-1, 1].
            cell: (B, Q, 2) or (B, 1, 2), size of a queried pixel: (2 / H, 2 / W) for an output of H x W pixels.

        Returns:
            (B, Q, D), or (B, D, H, W) without `coord`, where D is the number of output channels. Values are nominally
            in [0, 1] and not clamped.

        Raises:
            LIIFError: an argument has the wrong shape or type; or `coord` or `cell` is on the CPU and contains NaN.
        """
        self.check_image(lq)
        if coord is not None:
            check_queries(lq, coord, cell)
            return self.query(lq, coord, cell)
        size = (round(lq.shape[-2] * self.scale), round(lq.shape[-1] * self.scale))
        if not torch.is_grad_enabled() or not (self.training or lq.requires_grad):
            return self.render(lq, size)
        coord = make_coord(size, lq.device).expand(len(lq), -1, -1)
        cell = self.decoder.image_cell(make_cell(size, lq.device), (lq.shape[-2], lq.shape[-1]))
        output = self.query(lq, coord, cell.expand(len(lq), 1, -1))
        return output.mT.reshape(len(lq), -1, *size).contiguous()

    def query(self, lq: Tensor, coord: Tensor, cell: Tensor) -> Tensor:
        """Return the values at `coord`, as `forward` does, without checking the arguments."""
        queries = Queries(coord, cell, (lq.shape[-2], lq.shape[-1]))
        return self.denormalize(self.decoder.query(self.encode_and_prepare(lq), queries), lq, coord).contiguous()

    def encode(self, lq: Tensor) -> Tensor:
        """Return the feature grid (B, out_channels, h, w) of images (B, C, h, w) in [0, 1]."""
        # Convolutions are fastest in channels-last memory.
        return self.encoder(((lq - 0.5) / 0.5).contiguous(memory_format=torch.channels_last))

    def encode_and_prepare(self, lq: Tensor) -> Tensor:
        """Encode images and apply the decoder's `prepare`: everything that is computed once per image."""
        return self.decoder.prepare(self.encode(lq))

    @property
    def receptive_radius(self) -> int | None:
        """Receptive radius of `encode_and_prepare` in input pixels; None if it is unbounded."""
        radius, halo = self.encoder.receptive_radius, self.decoder.prepare_halo
        return None if radius is None or halo is None else radius + halo

    def denormalize(self, output: Tensor, lq: Tensor, coord: Tensor) -> Tensor:
        """Map a decoder's output (B, Q, D) from [-1, 1] to [0, 1].

        With `input_skip`, the output is halved and added to the upscaled input at `coord`.
        """
        if self.input_skip is None:
            return output * 0.5 + 0.5
        if self.input_skip == "nearest":
            rows, cols = (corner_index(coord[..., k], lq.shape[k - 2], 0)[0] for k in (0, 1))
            index = (rows * lq.shape[-1] + cols)[:, None].expand(-1, lq.shape[1], -1)
            return output * 0.5 + lq.flatten(2).gather(2, index).mT
        exact = torch.promote_types(lq.dtype, torch.float32)  # in half precision, coordinates would be off by pixels
        grid = coord[:, None].flip(-1).to(exact)
        skip = F.grid_sample(lq.to(exact), grid, mode="bilinear", padding_mode="border", align_corners=False)
        return output * 0.5 + skip.to(lq.dtype)[:, :, 0].mT

    @never_compiled
    @torch.no_grad()
    def render(
        self, lq: Tensor, size: tuple[int, int], window: tuple[int, int, int, int] | None = None
    ) -> Tensor:
        """Upscale images. Apart from the result, memory use does not depend on the sizes of input and output.

        Args:
            lq: (B, C, h, w) in [0, 1].
            size: (H, W) of the whole output.
            window: (top, left, height, width), the part of the output to return; by default the whole output.

        Returns:
            (B, D, H, W), or (B, D, height, width) with `window`; nominally in [0, 1], not clamped.

        Raises:
            LIIFError: `size` is not positive, the window exceeds the output, or the result does not fit into memory.
        """
        self.check_image(lq)
        images = [image.render(size, window) for image in open_images(self, lq)]
        return images[0] if len(images) == 1 else torch.cat(images)

    @never_compiled
    @torch.no_grad()
    def sample(
        self, lq: Tensor, coord: Tensor, cell: Tensor, fill: float = 0.0, return_mask: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the values at arbitrary positions, in bounded memory and without gradients.

        Each position may have its own cell. The values equal those of `forward` up to rounding.

        Args:
            lq: (B, C, h, w) in [0, 1].
            coord: (B, Q, 2), positions (y, x); the image spans [-1, 1].
            cell: (B, Q, 2) or (B, 1, 2), size of a queried pixel: (2 / H, 2 / W) for an output of H x W pixels.
            fill: value to return for positions outside the image.
            return_mask: also return which positions lie inside the image.

        Returns:
            (B, Q, D), where D is the number of output channels. Values are nominally in [0, 1] and not clamped. With
            `return_mask` also a mask (B, Q) bool, true inside the image.

        Raises:
            LIIFError: an argument has the wrong shape or type; or `coord` or `cell` is on the CPU and contains NaN.
        """
        self.check_image(lq)
        check_queries(lq, coord, cell)
        cell = cell.expand(-1, coord.shape[1], -1)
        values = torch.cat([
            image.sample(coord[k : k + 1], cell[k : k + 1], fill) for k, image in enumerate(open_images(self, lq))
        ])  # fmt: skip
        return (values, (coord.abs() <= 1).all(-1)) if return_mask else values

    def encode_image(
        self, lq: Tensor, max_bytes: int = CACHE_BYTES, tile: int | None = None, threads: int | None = None
    ) -> EncodedImage:
        """Return an `EncodedImage`, which renders windows of one image at any output size.

        The features of the image are computed on first use and cached.

        Args:
            lq: (1, C, h, w) in [0, 1].
            max_bytes: maximum size of the cached features in bytes; one tile is cached even if it is larger. 0 disables
                the cache if the receptive radius is bounded and the decoder is not global. Features that are not cached
                are recomputed when needed.
            tile: edge length in input pixels of the tiles that are encoded; None for the default.
            threads: number of torch threads for encoding; None for the current number.

        Raises:
            LIIFError: `lq` is not one image.
        """
        self.check_image(lq)
        if len(lq) != 1:
            raise LIIFError(f"lq: expected one image (1, {self.num_in_ch}, h, w), got {tuple(lq.shape)}")
        return EncodedImage(self, lq, max_bytes, tile, threads)

    def check_image(self, lq: Tensor) -> None:
        """Raise LIIFError unless `lq` is a non-empty float tensor of shape (B, num_in_ch, h, w)."""
        if lq.ndim != 4 or lq.shape[1] != self.num_in_ch or 0 in lq.shape:
            raise LIIFError(f"lq: expected shape (B, {self.num_in_ch}, h, w), got {tuple(lq.shape)}")
        if not lq.is_floating_point():
            raise LIIFError(f"lq: expected floats in [0, 1], got {lq.dtype}; convert it first (uint8: lq / 255)")


def check_queries(lq: Tensor, coord: Tensor, cell: Tensor | None) -> None:
    """Raise LIIFError unless the arguments of a query are valid.

    `coord` must have the shape (B, Q, 2), and `cell` (B, Q, 2) or (B, 1, 2), where B is the batch size of `lq`. Neither
    may contain NaN.
    """
    if cell is None:
        raise LIIFError(
            "cell: missing; with coord, also pass the size of a queried pixel: (2 / H, 2 / W) for an output of H x W "
            "pixels"
        )
    if coord.ndim != 3 or coord.shape[2] != 2 or len(coord) != len(lq):
        raise LIIFError(f"coord: expected shape ({len(lq)}, Q, 2), got {tuple(coord.shape)}")
    if cell.ndim != 3 or cell.shape[2] != 2 or len(cell) != len(lq) or cell.shape[1] not in (1, coord.shape[1]):
        raise LIIFError(
            f"cell: expected shape ({len(lq)}, {coord.shape[1]}, 2) or ({len(lq)}, 1, 2), got {tuple(cell.shape)}"
        )
    # On a GPU, this check would wait for the device. A compiled graph cannot branch on values.
    if coord.device.type == "cpu" and not torch.compiler.is_compiling():
        for name, value in (("coord", coord), ("cell", cell)):
            if value.isnan().any():
                raise LIIFError(f"{name}: contains NaN; all values must be numbers")


def check_value_range(value: Any) -> tuple[float, float] | None:
    """Check the `value_range` of a network and return it as (low, high). None is valid and is returned unchanged.

    Raises:
        LIIFError: `value` is not a pair of finite numbers, the lower one first.
    """
    if value is None:
        return None
    try:
        low, high = (float(number) for number in value)
    except (TypeError, ValueError):
        raise LIIFError(f"value_range: expected two numbers (low, high), got {value!r}") from None
    if not -math.inf < low < high < math.inf:
        raise LIIFError(f"value_range: expected two finite numbers, the lower one first, got {low:g} and {high:g}")
    return low, high


def linear_layers(dims: Sequence[int]) -> nn.ModuleList:
    """Return the linear layers of an MLP; `dims` lists its widths from input to output."""
    return nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in zip(dims, dims[1:], strict=False))

