"""Checkpoints of fixed-scale BasicSR networks, written by BasicSR and other projects."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from datafiles import refused
from torch import nn

import liif_basicsr
from liif_basicsr.evaluation.methods import open_method
from liif_basicsr.hub.checkpoint import save

BLOCK = {"type": "SRVGGNetCompact", "num_feat": 6, "num_conv": 1, "upscale": 2}


def network() -> nn.Module:
    torch.manual_seed(0)
    return SRVGGNetCompact(num_feat=6, num_conv=1, upscale=2).eval()


@pytest.mark.parametrize("form", ["params", "params_ema", "plain", "distributed"])
def test_file_loads_with_the_options_of_its_network(tmp_path: Path, form: str):
    net, path = network(), tmp_path / "net.pth"
    state = net.state_dict()
    if form == "distributed":
        torch.save({"params": {f"module.{key}": value for key, value in state.items()}}, path)
    else:
        torch.save(state if form == "plain" else {form: state}, path)
    lq = torch.rand(1, 3, 8, 10)
    with torch.no_grad():
        expected = net(lq)
    for scale in (None, 2):
        loaded: Any = liif_basicsr.load(path, scale=scale, network_g=BLOCK)
        assert loaded.scale == 2 and not loaded.training
        assert torch.allclose(loaded(lq), expected, atol=1e-6)
        assert loaded.render(lq, (11, 29)).shape == (1, 3, 11, 29)


def test_self_describing_file_needs_no_options(tmp_path):
    save(tmp_path / "net.pth", {"params": network().state_dict(), "network_g": BLOCK})
    loaded: Any = liif_basicsr.load(tmp_path / "net.pth")
    assert loaded.scale == 2
    again = {"type": "FixedScaleSR", "arch": BLOCK}
    save(tmp_path / "again.pth", {"params": loaded.state_dict(), "network_g": again})
    lq = torch.rand(1, 3, 5, 5)
    assert torch.equal(liif_basicsr.load(tmp_path / "again.pth")(lq), loaded(lq))


def test_row_in_a_table(tmp_path):
    save(tmp_path / "net.pth", {"params": network().state_dict(), "network_g": BLOCK})
    method = open_method(f"theirs={tmp_path / 'net.pth'}")
    assert method.label == "theirs" and method.parameters == sum(p.numel() for p in network().parameters())
    assert method.render(torch.rand(1, 3, 6, 7), (9, 25)).shape == (1, 3, 9, 25)


def test_contradictions_are_one_line(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"params": network().state_dict()}, path)
    refused(lambda: liif_basicsr.load(path), str(path), "network_g")
    refused(lambda: liif_basicsr.load(path, scale=4, network_g=BLOCK), str(path), "upscales by 2, not 4")
    refused(lambda: liif_basicsr.load(path, network_g={**BLOCK, "num_feat": 8}), str(path), "do not fit network_g")
    refused(lambda: liif_basicsr.load(path, network_g={**BLOCK, "type": "SRVGG"}), str(path), "'SRVGG'")
    refused(lambda: liif_basicsr.load(path, network_g={**BLOCK, "feat": 8}), str(path), "'feat'")
    refused(lambda: liif_basicsr.load("liif-fast", scale=2), "liif-fast", "scale", "leave scale out")
