"""ncnn weights are converted to a checkpoint of the same network; damaged files are refused."""
from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from torch import nn

from liif_basicsr.errors import LIIFError
from liif_basicsr.hub.checkpoint import load, read
from liif_basicsr.hub.ncnn import converted, from_ncnn, made_from

SIZES = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 6, "num_block": 2, "num_grow_ch": 3}
BLOCK = {"type": "RRDBNet", **SIZES}


def network() -> nn.Module:
    """A small RRDBNet whose weights are exact in half precision, as ncnn stores them."""
    torch.manual_seed(0)
    net = RRDBNet(**SIZES).eval()
    for name, param in net.named_parameters():
        param.data = torch.randn_like(param) * 0.1
        if name.endswith("weight"):
            param.data = param.data.half().float()
    return net


def to_ncnn(net: nn.Module, half: bool = True) -> tuple[bytes, bytes]:
    """Return the .param and .bin files of a network. Layers without weights are between the convolutions."""
    lines, content = [], b""
    for k, conv in enumerate(m for m in net.modules() if isinstance(m, nn.Conv2d)):
        lines.append(f"Convolution              Conv_{k}                   1 1 in{k} out{k} 0={conv.out_channels} 1=3 "
                     f"4=1 5=1 6={conv.weight.numel()} 9=2 -23310=1,2.000000e-01")  # fmt: skip
        lines.append(f"Eltwise                  Add_{k}         2 1 out{k} in{k} in{k + 1} 0=1 -23301=2,0.2,1.0")
        weights = conv.weight.detach().numpy().astype("<f2" if half else "<f4").tobytes()
        content += struct.pack("<I", 0x01306B47 if half else 0) + weights + bytes(-len(weights) % 4)
        content += conv.bias.detach().numpy().astype("<f4").tobytes()
    return "\n".join(["7767517", f"{len(lines)} 99", *lines, ""]).encode(), content


@pytest.mark.parametrize("half", [True, False])
def test_parameters_equal_the_network(half):
    net = network()
    state = from_ncnn(*to_ncnn(net, half), net=RRDBNet(**SIZES))
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(state[name].float(), value) for name, value in net.state_dict().items())


def test_converted_file_loads_here_and_in_basicsr(tmp_path):
    net, path = network(), tmp_path / "net.pth"
    files = to_ncnn(net)
    path.write_bytes(converted(*files, BLOCK))
    assert made_from(path) == hashlib.sha256(files[1]).hexdigest() and read(path)["network_g"] == BLOCK
    loaded: Any = load(path)
    lq = torch.rand(1, 3, 7, 9)
    with torch.no_grad():
        expected = net(lq)
    assert loaded.scale == 4 and torch.allclose(loaded(lq), expected, atol=1e-5)
    theirs = RRDBNet(**SIZES)
    theirs.load_state_dict(torch.load(path, weights_only=True)["params"], strict=True)
    assert all(torch.equal(a, b) for a, b in zip(theirs.parameters(), net.parameters(), strict=True))


def test_made_from_is_none_for_other_files(tmp_path):
    assert made_from(tmp_path / "missing.pth") is None
    (tmp_path / "broken.pth").write_bytes(b"half of a checkpoint")
    assert made_from(tmp_path / "broken.pth") is None
    torch.save([1], tmp_path / "list.pth")
    assert made_from(tmp_path / "list.pth") is None


def damaged(param: bytes, content: bytes) -> dict[str, tuple[bytes, bytes]]:
    """Return damaged and unsuitable files: part of the error message -> (.param, .bin)."""
    tag = struct.pack("<I", 0x0D4B38)
    return {
        "is truncated: it ends in the weights of Conv_": (param, content[: len(content) // 2]),
        "4 bytes more": (param, content + b"more"),
        "unknown tag": (param, tag + content[4:]),
        "not a .param file": (b"\x89PNG" + param, content),
        "damaged .param file": (param.replace(b"6=162", b"6=many"), content),
        "Conv_0 of the ncnn network does not fit conv_first": (param.replace(b"6=162", b"6=160", 1), content),
    }


@pytest.mark.parametrize("says", damaged(b"", b""))
def test_damaged_files_are_refused_in_one_line(says: str):
    files = damaged(*to_ncnn(network()))[says]
    with pytest.raises(LIIFError, match=says) as caught:
        converted(*files, BLOCK)
    assert "\n" not in str(caught.value)


def test_another_network_is_refused():
    with pytest.raises(LIIFError, match="convolutions, but RRDBNet has"):
        from_ncnn(*to_ncnn(network()), net=RRDBNet(**{**SIZES, "num_block": 1}))
    with pytest.raises(LIIFError, match="does not fit conv_first"):
        from_ncnn(*to_ncnn(network()), net=RRDBNet(**{**SIZES, "num_feat": 8}))


@pytest.mark.parametrize("count", [1, 3])
def test_odd_number_of_half_precision_weights_is_padded_to_a_word(count):
    conv = nn.Conv2d(1, count, 1)
    conv.weight.data = torch.arange(count).float().view(count, 1, 1, 1)
    state = from_ncnn(*to_ncnn(nn.Sequential(conv)), net=nn.Sequential(nn.Conv2d(1, count, 1)))
    assert np.array_equal(state["0.weight"].flatten(), np.arange(count)) and torch.equal(state["0.bias"], conv.bias)
