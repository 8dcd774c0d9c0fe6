"""RDN (Zhang et al., CVPR 2018) without its upsampler, the larger encoder of the LIIF paper."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liif_basicsr.archs.registry import register_encoder

# Our module names -> names in the official LIIF code. There, `.conv.0` also follows the name of a dense convolution.
OFFICIAL_NAMES = {
    "conv_first": "SFENet1",
    "conv_second": "SFENet2",
    "global_fusion": "GFF.0",
    "conv_after_body": "GFF.1",
    "local_fusion": "LFF",
    "body": "RDBs",
}


class ResidualDenseBlock(nn.Module):
    """A residual block of densely connected convolutions, fused by a 1x1 convolution."""

    def __init__(self, num_feat: int, num_layer: int, num_grow_ch: int) -> None:
        super().__init__()
        widths = [num_feat + i * num_grow_ch for i in range(num_layer + 1)]
        self.convs = nn.ModuleList(nn.Conv2d(width, num_grow_ch, 3, padding=1) for width in widths[:-1])
        self.local_fusion = nn.Conv2d(widths[-1], num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        dense = x
        for conv in self.convs:
            dense = torch.cat([dense, F.relu(conv(dense), inplace=True)], dim=1)
        return x + self.local_fusion(dense)


@register_encoder
class RDN(nn.Module):
    """RDN without its upsampler as an encoder. The defaults are the LIIF paper's (configuration B).

    Args:
        num_in_ch: number of channels of the input image.
        num_feat: number of channels of the feature grid, and of the features between blocks (G0 in the RDN paper).
        num_block: number of residual dense blocks (D).
        num_layer: number of convolutions in each block (C), besides the 1x1 convolution at its end.
        num_grow_ch: number of channels that each convolution adds (G).
    """

    def __init__(
        self, num_in_ch: int = 3, num_feat: int = 64, num_block: int = 16, num_layer: int = 8, num_grow_ch: int = 64
    ) -> None:
        super().__init__()
        self.out_channels = num_feat
        self.receptive_radius = num_block * num_layer + 3
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.conv_second = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.body = nn.ModuleList(ResidualDenseBlock(num_feat, num_layer, num_grow_ch) for _ in range(num_block))
        self.global_fusion = nn.Conv2d(num_block * num_feat, num_feat, 1)
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.conv_first(x)
        x = self.conv_second(skip)
        # `global_fusion` is a 1x1 convolution of the concatenated outputs of all blocks. It is computed as a sum over
        # the blocks, so that their outputs need not be kept in memory.
        fused = self.global_fusion.bias.view(-1, 1, 1)
        for block, weight in zip(self.body, self.global_fusion.weight.chunk(len(self.body), dim=1), strict=True):
            x = block(x)
            fused = fused + F.conv2d(x, weight)
        return skip + self.conv_after_body(fused)

    def official_key(self, key: str) -> str:
        """Return the name of a parameter in the official LIIF code."""
        head, _, tail = key.rpartition(".")
        if head.startswith("body.") and "convs." in head:
            head += ".conv.0"
        for ours, official in OFFICIAL_NAMES.items():
            head = head.replace(ours, official)
        return f"{head}.{tail}"
