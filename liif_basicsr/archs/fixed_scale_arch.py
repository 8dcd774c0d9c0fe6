"""FixedScaleSR: any architecture of BasicSR that enlarges by one scale, at all scales."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.continuous_arch import ContinuousNetwork
from liif_basicsr.archs.decoders.resample import ResampleDecoder
from liif_basicsr.archs.encoders.basicsr_arch import build_arch, pad_to_multiple
from liif_basicsr.config.checks import integer, optional
from liif_basicsr.config.options import Field, check_block
from liif_basicsr.errors import LIIFError, brief
from liif_basicsr.rendering.tiles import Tiling

# What the sides of an input may have to be a multiple of, in windows of the architecture; tried in this order.
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
FIELDS = {"scale": Field(optional(integer(1, 16))), "halo": Field(integer(0, 1024))}


class FixedScaleSR(ContinuousNetwork):
    """A network of one scale, at any other one by resizing its own output (see `ResampleDecoder`).

    It is run on tiles that overlap by `halo`. For a network that sees further, such as RRDBNet with 345 pixels, tiles
    are not exact: with 48, Real-ESRGAN differs beside a seam by 0.002 (root mean square, of 1), with 10 by 0.02.

    Args:
        arch: the `network_g` block of an architecture that BasicSR knows, `type` and arguments.
        scale: what it enlarges by; found out where it is not given.
        halo: pixels around a tile that are computed with it, and thrown away.

    Raises:
        LIIFError: an architecture or an argument that does not exist, or one that does not enlarge by a whole scale.
    """

    # Smaller than others: an upsampler takes more memory than any encoder; Real-ESRGAN 1 GB for a tile and its halo.
    tiling = Tiling(tile=192)

    def __init__(self, arch: dict[str, Any], scale: int | None = None, halo: int = 48) -> None:
        check_block({"scale": scale, "halo": halo}, FIELDS, "network_g")
        encoder = OwnOutput(arch, scale, halo)
        super().__init__(encoder, ResampleDecoder(encoder.scale), None, encoder.scale)

    @property
    def arch(self) -> nn.Module:
        """The architecture itself."""
        return self.encoder.arch


class OwnOutput(nn.Module):
    """An encoder whose features are the output of an architecture, all pixels that lie in an input pixel together.

    Attributes:
        scale: what the architecture enlarges by.
        multiple: what the sides of its inputs must be a multiple of; others are padded and the output is cropped.
    """

    def __init__(self, arch: dict[str, Any], scale: int | None, halo: int) -> None:
        super().__init__()
        self.arch, window = build_arch(arch, "network_g")
        self.where = f"network_g: {arch['type']}"
        self.multiple, self.scale = self._probe(window)
        if scale not in (None, self.scale):
            raise LIIFError(f"{self.where} enlarges by {self.scale}, and not by scale {scale}")
        self.out_channels = 3 * self.scale**2
        self.receptive_radius = halo

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) in [-1, 1] to (B, 3 * scale * scale, h, w)."""
        h, w = x.shape[-2:]
        out = self.arch(pad_to_multiple(x * 0.5 + 0.5, self.multiple))
        return F.pixel_unshuffle(out[..., : h * self.scale, : w * self.scale] * 2 - 1, self.scale)

    @torch.no_grad()
    def _probe(self, window: int) -> tuple[int, int]:
        """What inputs must be a multiple of, and the scale: from small images of odd sizes."""
        training, reason = self.arch.training, "gives no image"
        self.arch.eval()
        for multiple in (window * n for n in MULTIPLES):
            h, w = (-(-n // multiple) * multiple for n in (17, 23))
            try:
                out = self.arch(torch.zeros(1, 3, h, w))
            except Exception as error:  # whatever an architecture of somebody else's raises
                reason = brief(error)
                continue
            if isinstance(out, Tensor) and out.ndim == 4 and out.shape[:2] == (1, 3):
                scale = out.shape[2] // h
                if scale >= 1 and out.shape[2:] == (h * scale, w * scale):
                    self.arch.train(training)
                    return multiple, scale
            reason = "makes no image of it that is larger by a whole scale"
        raise LIIFError(f"{self.where}: of an input of {h}x{w}, it {reason}") from None
