"""Compare other decoders with LIIF's, and `liif-fast` with the official code."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarking.cases import HIGH, LOW, NETWORK
from benchmarking.official import official_render
from benchmarking.timing import row
from liif_basicsr import load
from liif_basicsr.archs import build_network


class GivenFeatures(nn.Module):
    """Encoder that returns precomputed features."""

    receptive_radius = 0

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        return self.features


def decoding_alone(net: Any, lq: Tensor) -> Any:
    """Replace the encoder by the precomputed features of `lq`, so that `render` only decodes. Return the network."""
    with torch.no_grad():
        net.encoder = GivenFeatures(net.encode(lq))
    return net


def measure_decoders(runs: int) -> None:
    """Print rows that compare the time of other decoders with LIIF's, in float32."""
    lq = torch.rand(1, 3, *LOW)
    exact = decoding_alone(build_network(NETWORK).eval(), lq)
    others = {
        "ContinuousShuffleSR": load("liif-fast").to(lq.device),
        "LMLIIF": build_network({**NETWORK, "type": "LMLIIF"}).eval(),
    }
    print("\n| decoder, float32 | time | speedup over our LIIF decoder | range |\n|---|---|---|---|")
    for name, net in others.items():
        decoder = decoding_alone(net, lq)
        row(f"{name}, {LOW[0]}x{LOW[1]} to {HIGH[0]}x{HIGH[1]}", lambda: exact.render(lq, HIGH),
            lambda net=decoder: net.render(lq, HIGH), runs)  # fmt: skip


def measure_fast(theirs: Any, runs: int) -> None:
    """Print rows with the time to render an image with `liif-fast`, including the encoder."""
    lq = torch.rand(1, 3, *LOW)
    net = load("liif-fast").to(lq.device)
    for scale in (2, 4):
        size = (scale * LOW[0], scale * LOW[1])
        base = (lambda size=size: official_render(theirs, lq, size)) if theirs else None
        row(f"liif-fast, render {LOW[0]}x{LOW[1]} to {size[0]}x{size[1]}, float32", base,
            lambda size=size: net.render(lq, size), runs)  # fmt: skip
