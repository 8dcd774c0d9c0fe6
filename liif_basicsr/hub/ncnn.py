"""Convert ncnn weights (.param and .bin) to a BasicSR network with the same convolutions in the same order."""
from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from liif_basicsr.archs.encoders.basicsr_arch import build_arch
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub.checkpoint import read_tensors

MAGIC = "7767517"
HALF = 0x01306B47  # tag of weights in half precision
SINGLE = 0  # tag of weights in single precision


class Convolution(NamedTuple):
    """A convolution in a .param file.

    Attributes:
        name: name of the layer.
        channels: number of output channels.
        kernel: height and width of the kernel.
        weights: number of weights.
        bias: whether the layer has a bias.
    """

    name: str
    channels: int
    kernel: int
    weights: int
    bias: bool


def converted(param: bytes, content: bytes, network_g: dict[str, Any]) -> bytes:
    """Convert an ncnn network to one of our checkpoints, see `from_ncnn`, and return the bytes of the `.pth` file.

    `network_g` is the options of a BasicSR architecture with the same convolutions in the same order.
    """
    params = from_ncnn(param, content, build_arch(network_g, "network_g")[0])
    file = BytesIO()
    torch.save({"params": params, "network_g": network_g, "sha256": hashlib.sha256(content).hexdigest()}, file)
    return file.getvalue()


def made_from(path: Path) -> str | None:
    """Return the sha256 of the .bin file from which `path` was converted, or None if `path` is any other file."""
    try:
        checkpoint = read_tensors(path)
    except LIIFError:
        return None
    return checkpoint.get("sha256") if isinstance(checkpoint, dict) else None


def from_ncnn(param: bytes, content: bytes, net: nn.Module) -> dict[str, Tensor]:
    """Convert the parameters of an ncnn network to a state dict of `net`.

    Args:
        param, content: bytes of the .param and the .bin file.
        net: a network whose `Conv2d` modules are the convolutions of the ncnn network, in the same order.

    Returns:
        A state dict. Weights have the precision of the file (float16 or float32); biases are float32.

    Raises:
        LIIFError: the files are damaged, or belong to another network.
    """
    layers = list(_convolutions(param))
    modules = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    if len(layers) != len(modules):
        raise LIIFError(f"the ncnn network has {len(layers)} convolutions, but {type(net).__name__} has {len(modules)}")
    state: dict[str, Tensor] = {}
    position = 0
    for layer, (name, module) in zip(layers, modules, strict=True):
        weight, bias, position = _read(content, position, layer)
        if weight.numel() != module.weight.numel() or bias.numel() != module.out_channels:
            raise LIIFError(f"convolution {layer.name} of the ncnn network does not fit {name}")
        state[f"{name}.weight"] = weight.view(module.weight.shape)
        state[f"{name}.bias"] = bias
    if position != len(content):
        raise LIIFError(f"the .bin file of ncnn has {len(content) - position} bytes more than the network needs")
    return state


def _convolutions(param: bytes) -> Iterator[Convolution]:
    """Yield the convolutions in a .param file. The other layers of the networks that we convert have no weights."""
    lines = param.decode("utf-8", "replace").splitlines()
    if lines[:1] != [MAGIC]:
        raise LIIFError(f"not a .param file of ncnn: its first line is not {MAGIC}")
    try:
        for line in lines[2:]:
            kind, name, inputs, outputs, *rest = line.split()
            if kind == "Convolution":
                values = dict(item.split("=") for item in rest[int(inputs) + int(outputs) :])
                bias = values.get("5", "0") == "1"
                yield Convolution(name, int(values["0"]), int(values["1"]), int(values["6"]), bias)
    except (ValueError, KeyError):
        raise LIIFError(f"damaged .param file of ncnn, in line {line[:60]!r}") from None


def _read(content: bytes, position: int, layer: Convolution) -> tuple[Tensor, Tensor, int]:
    """Return the weights and the bias of a layer, and the position of the next layer."""
    try:
        (tag,) = struct.unpack_from("<I", content, position)
        if tag not in (HALF, SINGLE):
            raise LIIFError(f"ncnn weights of {layer.name}: unknown tag {tag:#010x}")
        dtype = np.dtype("<f2") if tag == HALF else np.dtype("<f4")
        weight = np.frombuffer(content, dtype, layer.weights, position + 4)
        position += 4 + -(-layer.weights * dtype.itemsize // 4) * 4  # padded to whole words
        count = layer.channels if layer.bias else 0
        bias = np.frombuffer(content, "<f4", count, position)
    except (struct.error, ValueError) as error:
        if isinstance(error, LIIFError):
            raise
        raise LIIFError(f"the .bin file of ncnn is truncated: it ends in the weights of {layer.name}") from None
    return torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy()), position + 4 * count
