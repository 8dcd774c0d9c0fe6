"""SwinIR (Liang et al., ICCVW 2021), BasicSR's own, without its upsampler."""
from __future__ import annotations

from collections.abc import Sequence

from liif_basicsr.archs.encoders.basicsr_arch import BasicSRArch
from liif_basicsr.errors import LIIFError


class SwinIR(BasicSRArch):
    """SwinIR's trunk as an encoder; the defaults are those of its classical super-resolution.

    The features are those its 'pixelshuffle' upsampler gets, 64 channels after `conv_before_upsample`. Needs
    BasicSR installed. Attention passes from window to window, so there is no `receptive_radius`.

    Args:
        img_size: side of the inputs in training, a multiple of window_size, twice it at least. Other sizes work
            as well; this one has its attention masks ready.
        embed_dim: channels inside.
        depths: blocks in each group.
        num_heads: attention heads in each group; each divides embed_dim.
        window_size: side of a window; the input is padded to whole ones.
        mlp_ratio: channels inside a block's MLP over embed_dim.
        drop_path_rate: in training, how often the last block is skipped (the earlier, the less).
        resi_connection: `1conv` or `3conv`, what ends a group.

    Raises:
        LIIFError: sizes that do not fit each other.
    """

    def __init__(
        self,
        img_size: int = 48,
        embed_dim: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        drop_path_rate: float = 0.1,
        resi_connection: str = "1conv",
    ) -> None:
        where = "encoder SwinIR"
        if img_size % window_size or img_size < 2 * window_size:
            raise LIIFError(f"{where}: img_size {img_size} must be 2 or more times window_size {window_size}")
        if len(depths) != len(num_heads):
            raise LIIFError(f"{where}: depths {list(depths)} and num_heads {list(num_heads)} must be equally many")
        if any(embed_dim % heads for heads in num_heads):
            raise LIIFError(f"{where}: embed_dim {embed_dim} must be a multiple of each of num_heads {list(num_heads)}")
        if resi_connection not in ("1conv", "3conv"):
            raise LIIFError(f"{where}: resi_connection must be 1conv or 3conv, not {resi_connection!r}")
        super().__init__(
            {
                "type": "SwinIR",
                "upsampler": "pixelshuffle",
                "upscale": 2,
                "img_size": img_size,
                "embed_dim": embed_dim,
                "depths": depths,
                "num_heads": num_heads,
                "window_size": window_size,
                "mlp_ratio": mlp_ratio,
                "drop_path_rate": drop_path_rate,
                "resi_connection": resi_connection,
            }
        )
