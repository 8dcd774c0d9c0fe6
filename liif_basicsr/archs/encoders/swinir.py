"""BasicSR's SwinIR (Liang et al., ICCVW 2021) without its upsampler."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from liif_basicsr.archs.encoders.basicsr_arch import BasicSRArch
from liif_basicsr.archs.registry import register_encoder
from liif_basicsr.errors import LIIFError


@register_encoder
class SwinIR(BasicSRArch):
    """SwinIR without its upsampler as an encoder, with the defaults of the classical super-resolution models.

    The features are the 64 channels after `conv_before_upsample`. Shifted windows pass information across the whole
    image, so the receptive field is unbounded. Requires BasicSR.

    Args:
        img_size: side of the training inputs in pixels: a multiple of `window_size`, at least 2 * `window_size`. For
            inputs of other sizes, the attention masks are recomputed.
        embed_dim: number of channels of the attention blocks.
        depths: number of blocks in each group.
        num_heads: number of attention heads in each group; each number must divide `embed_dim`.
        window_size: side of an attention window in pixels. The input is padded to a multiple.
        mlp_ratio: ratio of the MLP's hidden width to `embed_dim`.
        drop_path_rate: probability of skipping the last block in training (stochastic depth). The probability of
            earlier blocks decreases linearly to 0 for the first block.
        resi_connection: convolutions at the end of each group, `1conv` or `3conv`.
        num_in_ch: number of channels of the input image.

    Raises:
        LIIFError: `img_size`, `embed_dim` or `depths` does not fit the other arguments.
    """

    def __init__(
        self,
        img_size: int = 48,
        embed_dim: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        window_size: int = 8,
        mlp_ratio: Annotated[float, Field(gt=0)] = 2.0,
        drop_path_rate: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        resi_connection: Literal["1conv", "3conv"] = "1conv",
        num_in_ch: int = 3,
    ) -> None:
        if img_size % window_size or img_size < 2 * window_size:
            raise LIIFError(
                f"network_g: encoder: img_size: expected a multiple of window_size ({window_size}) of at least "
                f"{2 * window_size}, got {img_size}"
            )
        if len(depths) != len(num_heads):
            raise LIIFError(
                f"network_g: encoder: depths: expected as many numbers as in num_heads {list(num_heads)}, "
                f"got {list(depths)}"
            )
        if any(embed_dim % heads for heads in num_heads):
            raise LIIFError(
                f"network_g: encoder: embed_dim: expected a multiple of each number in num_heads {list(num_heads)}, "
                f"got {embed_dim}"
            )
        super().__init__(
            {
                "type": "SwinIR",
                "upsampler": "pixelshuffle",
                "upscale": 2,
                "in_chans": num_in_ch,
                "img_size": img_size,
                "embed_dim": embed_dim,
                "depths": depths,
                "num_heads": num_heads,
                "window_size": window_size,
                "mlp_ratio": mlp_ratio,
                "drop_path_rate": drop_path_rate,
                "resi_connection": resi_connection,
            },
            num_in_ch=num_in_ch,
        )


@register_encoder
class SwinIRTail(SwinIR):
    """SwinIR without its upsampler, applied to features instead of images: the tail of Thera Pro.

    Differs from `SwinIR` to match Thera's official code: the input is not mapped to [0, 1], and GELU is approximated
    with tanh.

    Args:
        embed_dim, depths, num_heads, window_size: see `SwinIR`; the defaults are Thera Pro's.
        num_in_ch: number of input channels.

    Raises:
        LIIFError: see `SwinIR`.
    """

    def __init__(
        self,
        embed_dim: int = 180,
        depths: Sequence[int] = (7, 6),
        num_heads: Sequence[int] = (6, 6),
        window_size: int = 8,
        num_in_ch: int = 3,
    ) -> None:
        super().__init__(6 * window_size, embed_dim, depths, num_heads, window_size, num_in_ch=num_in_ch)
        for module in self.modules():
            if isinstance(module, nn.GELU):
                module.approximate = "tanh"

    def arch_input(self, x: Tensor) -> Tensor:
        return x
