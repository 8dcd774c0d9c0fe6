"""FixedScaleSR: any fixed-scale architecture of BasicSR, at all scales."""
from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork
from liif_basicsr.archs.encoders.basicsr_arch import build_arch, pad_to_multiple
from liif_basicsr.archs.registry import register_arch
from liif_basicsr.archs.resample import ResampleDecoder
from liif_basicsr.errors import LIIFError, summarize
from liif_basicsr.rendering.memory import Tiling

# Multiples, in windows of the architecture, that the sides of an input may have to be; tried in this order.
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)


@register_arch
class FixedScaleSR(ContinuousNetwork):
    """A fixed-scale network; at other scales its output is resized, see `ResampleDecoder`.

    It runs on tiles that overlap by `halo`. A network with a larger receptive field, such as RRDBNet with 345 pixels,
    is not exact in tiles: Real-ESRGAN differs next to a seam by 0.002 (root mean square in [0, 1]) with a halo of 48,
    by 0.02 with 10.

    Args:
        arch: `network_g` block of an architecture in BasicSR's registry, `type` and arguments.
        scale: upscaling factor; found by running the architecture if omitted.
        halo: pixels around a tile that are computed with it and discarded.
        num_in_ch: channels of the input.
        num_out_ch: channels of the output.

    Raises:
        LIIFError: an argument is unknown or invalid, or the architecture does not upscale by an integer factor.
    """

    # Smaller than others: an upsampler takes more memory than an encoder, Real-ESRGAN 1 GB for a tile and its halo.
    tiling = Tiling(tile=192)

    def __init__(
        self,
        arch: dict[str, Any],
        scale: Annotated[int, Field(ge=1, le=16)] | None = None,
        halo: Annotated[int, Field(ge=0, le=1024)] = 48,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        features = UnshuffledOutput(arch, num_in_ch, num_out_ch, scale, halo)
        decoder = ResampleDecoder(features.scale, num_out_ch)
        super().__init__(features, decoder, None, features.scale, num_in_ch, num_out_ch)

    @property
    def arch(self) -> nn.Module:
        """The wrapped architecture."""
        return self.encoder.arch


class UnshuffledOutput(nn.Module):
    """An encoder whose features are the `pixel_unshuffle` of an architecture's output.

    Attributes:
        scale: the architecture's upscaling factor.
        multiple: the sides of its inputs must be a multiple of this; other inputs are padded and the output cropped.
    """

    def __init__(self, arch: dict[str, Any], num_in_ch: int, num_out_ch: int, scale: int | None, halo: int) -> None:
        super().__init__()
        self.arch, window = build_arch(arch, "network_g", num_in_ch)
        self.where = f"network_g: {arch['type']}"
        self.multiple, self.scale = self._probe(window, num_in_ch, num_out_ch)
        if scale not in (None, self.scale):
            raise LIIFError(f"{self.where}: scale: the network upscales by {self.scale}, not {scale}")
        self.out_channels = num_out_ch * self.scale**2
        self.receptive_radius = halo

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) in [-1, 1] to (B, D * scale * scale, h, w)."""
        h, w = x.shape[-2:]
        out = self.arch(pad_to_multiple(x * 0.5 + 0.5, self.multiple))
        return F.pixel_unshuffle(out[..., : h * self.scale, : w * self.scale] * 2 - 1, self.scale)

    @torch.no_grad()
    def _probe(self, window: int, num_in_ch: int, num_out_ch: int) -> tuple[int, int]:
        """Find the multiple of input sides and the scale, from small images of odd sizes."""
        training, reason = self.arch.training, "no image"
        self.arch.eval()
        for multiple in (window * n for n in MULTIPLES):
            h, w = (-(-n // multiple) * multiple for n in (17, 23))
            try:
                out = self.arch(torch.zeros(1, num_in_ch, h, w))
            except Exception as error:  # architectures of other projects may raise anything
                reason = summarize(error)
                continue
            if isinstance(out, Tensor) and out.ndim == 4 and out.shape[:2] == (1, num_out_ch):
                scale = out.shape[2] // h
                if scale >= 1 and out.shape[2:] == (h * scale, w * scale):
                    self.arch.train(training)
                    return multiple, scale
            reason = f"expected an output of {num_out_ch} channels that is larger by an integer factor"
        raise LIIFError(f"{self.where}: fails on an input of {h}x{w}: {reason}") from None
