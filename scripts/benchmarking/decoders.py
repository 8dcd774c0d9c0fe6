"""The decoders that came after LIIF against LIIF's, and `liif-fast` against the official code."""
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
    """An encoder that costs nothing: the features are there already."""

    receptive_radius = 0

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        return self.features


def decoding_alone(net: Any, lq: Tensor) -> Any:
    """The network with its features of one image given, so that `render` is what its decoder does."""
    with torch.no_grad():
        net.encoder = GivenFeatures(net.encode(lq))
    return net


def measure_decoders(runs: int) -> None:
    """Time decoding with features given, in float32, against exact LIIF's."""
    lq = torch.rand(1, 3, *LOW)
    exact = decoding_alone(build_network(NETWORK).eval(), lq)
    others = {
        "ContinuousShuffleSR": load("liif-fast").to(lq.device),
        "LMLIIF": build_network({**NETWORK, "type": "LMLIIF"}).eval(),
    }
    print("\n| decoding alone, float32 | time | times as fast as LIIF's, ours | from, to |\n|---|---|---|---|")
    for name, net in others.items():
        decoder = decoding_alone(net, lq)
        row(f"{name}, {LOW[0]}x{LOW[1]} to {HIGH[0]}x{HIGH[1]}", lambda: exact.render(lq, HIGH),
            lambda net=decoder: net.render(lq, HIGH), runs)  # fmt: skip


def measure_fast(theirs: Any, runs: int) -> None:
    """Time whole images, encoder included, with `liif-fast`."""
    lq = torch.rand(1, 3, *LOW)
    net = load("liif-fast").to(lq.device)
    for scale in (2, 4):
        size = (scale * LOW[0], scale * LOW[1])
        base = (lambda size=size: official_render(theirs, lq, size)) if theirs else None
        row(f"liif-fast, render {LOW[0]}x{LOW[1]} to {size[0]}x{size[1]}, float32", base,
            lambda size=size: net.render(lq, size), runs)  # fmt: skip
