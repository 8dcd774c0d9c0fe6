"""FixedScaleSR: upscales by any factor with a fixed-scale architecture of BasicSR."""
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

# Some architectures accept only inputs whose height and width are multiples of a certain number. Candidates for this
# number, in units of the architecture's window size, in the order in which they are tried.
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)


@register_arch
class FixedScaleSR(ContinuousNetwork):
    """A fixed-scale architecture of BasicSR. At other scales, its output is resized; see `ResampleDecoder`.

    Large images are computed in tiles, each with a margin of `halo` pixels. If the architecture's receptive radius is
    larger than `halo`, the tiles are not exact. For example, Real-ESRGAN's RRDBNet has a receptive radius of about 350
    pixels. Next to a seam between tiles, the error is 0.002 (root mean square, in [0, 1]) with a halo of 48, and 0.02
    with a halo of 10.

    Args:
        arch: `network_g` block of an architecture in BasicSR's registry: its `type` and arguments.
        scale: upscaling factor of the architecture. ~ finds it by running the architecture on a small image.
        halo: width in pixels of the margin that is computed around each tile and then discarded.
        num_in_ch: number of input channels.
        num_out_ch: number of output channels.

    Raises:
        LIIFError: an argument is unknown or invalid, or the architecture does not upscale by an integer factor.
    """

    # Tiles are smaller than for other networks, because an upsampler takes more memory than an encoder: Real-ESRGAN
    # takes 1 GB for a tile and its halo.
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
        multiple: the architecture accepts only inputs whose height and width are multiples of this number. Other inputs
            are padded, and the output is cropped.
    """

    def __init__(self, arch: dict[str, Any], num_in_ch: int, num_out_ch: int, scale: int | None, halo: int) -> None:
        super().__init__()
        self.arch, window = build_arch(arch, "network_g", num_in_ch)
        self.where = f"network_g: {arch['type']}"
        self.multiple, self.scale = self._probe(window, num_in_ch, num_out_ch)
        if scale not in (None, self.scale):
            raise LIIFError(f"{self.where}: scale: the network upscales by {self.scale}, not {scale}; leave scale out")
        self.out_channels = num_out_ch * self.scale**2
        self.receptive_radius = halo

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, h, w) in [-1, 1] to features (B, D * scale * scale, h, w)."""
        h, w = x.shape[-2:]
        out = self.arch(pad_to_multiple(x * 0.5 + 0.5, self.multiple))
        return F.pixel_unshuffle(out[..., : h * self.scale, : w * self.scale] * 2 - 1, self.scale)

    @torch.no_grad()
    def _probe(self, window: int, num_in_ch: int, num_out_ch: int) -> tuple[int, int]:
        """Determine and return `multiple` and `scale` by running the architecture on small images."""
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
            reason = f"expected an output of {num_out_ch} channels whose size is an integer multiple of the input's"
        raise LIIFError(f"{self.where}: fails on an input of {h}x{w}: {reason}") from None
