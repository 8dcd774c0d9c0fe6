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
    """A layer of a .param file: output channels, kernel size and number of weights."""

    name: str
    channels: int
    kernel: int
    weights: int
    bias: bool


def converted(param: bytes, content: bytes, network_g: dict[str, Any]) -> bytes:
    """Return our checkpoint, which BasicSR reads too, of the parameters of an ncnn network.

    Args:
        param, content: the .param and the .bin file.
        network_g: options of a BasicSR architecture with the same convolutions in the same order.

    Raises:
        LIIFError: the files are damaged, or belong to another network.
    """
    params = from_ncnn(param, content, build_arch(network_g, "network_g")[0])
    file = BytesIO()
    torch.save({"params": params, "network_g": network_g, "sha256": hashlib.sha256(content).hexdigest()}, file)
    return file.getvalue()


def made_from(path: Path) -> str | None:
    """Return the sha256 of the .bin file of a converted checkpoint, or None for other and damaged files."""
    try:
        checkpoint = read_tensors(path)
    except LIIFError:
        return None
    return checkpoint.get("sha256") if isinstance(checkpoint, dict) else None


def from_ncnn(param: bytes, content: bytes, net: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of `net`, whose `Conv2d` modules are the convolutions of an ncnn network, in order.

    Args:
        param: the .param file.
        content: the .bin file, without surplus bytes.

    Returns:
        A state_dict: weights in the precision of the file (float16 as ncnn stores them), biases float32.

    Raises:
        LIIFError: the files are damaged, or belong to another network.
    """
    layers = list(_convolutions(param))
    modules = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    if len(layers) != len(modules):
        raise LIIFError(f"the ncnn network has {len(layers)} convolutions, {type(net).__name__} has {len(modules)}")
    state: dict[str, Tensor] = {}
    position = 0
    for layer, (name, module) in zip(layers, modules, strict=True):
        weight, bias, position = _read(content, position, layer)
        if weight.numel() != module.weight.numel() or bias.numel() != module.out_channels:
            raise LIIFError(f"convolution {layer.name} of the ncnn network does not fit {name}")
        state[f"{name}.weight"] = weight.view(module.weight.shape)
        state[f"{name}.bias"] = bias
    if position != len(content):
        raise LIIFError(f"the ncnn weights have {len(content) - position} bytes more than the network")
    return state


def _convolutions(param: bytes) -> Iterator[Convolution]:
    """Yield the convolutions of a .param file. Other layers of such networks have no weights."""
    lines = param.decode("utf-8", "replace").splitlines()
    if lines[:1] != [MAGIC]:
        raise LIIFError("not a .param file of ncnn")
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
    """Return weights and bias of a layer, and the position of the next one."""
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
        raise LIIFError(f"ncnn weights are cut short in {layer.name}") from None
    return torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy()), position + 4 * count
