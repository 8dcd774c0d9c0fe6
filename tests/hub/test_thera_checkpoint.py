"""Official checkpoints of Thera: pickles of a Flax tree, read without running code."""
from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from liif_basicsr.archs import build_network
from liif_basicsr.archs.encoders.convnext import Pointwise
from liif_basicsr.archs.encoders.edsr import EDSR
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.hub.thera import MEAN, from_flax


def conv(layer: torch.nn.Conv2d) -> dict[str, np.ndarray]:
    tree = {"kernel": layer.weight.permute(2, 3, 1, 0).numpy(force=True)}
    return tree if layer.bias is None else {**tree, "bias": layer.bias.numpy(force=True)}


def conv_1x1(layer: torch.nn.Linear) -> dict[str, np.ndarray]:
    return {"kernel": layer.weight.T[None, None].numpy(force=True), "bias": layer.bias.numpy(force=True)}


def norm(layer: torch.nn.LayerNorm) -> dict[str, np.ndarray]:
    return {"scale": layer.weight.numpy(force=True), "bias": layer.bias.numpy(force=True)}


def edsr_tree(encoder: Any) -> dict[str, Any]:
    blocks = [{"layers_0": conv(block.conv1), "layers_2": conv(block.conv2)} for block in encoder.body]
    body = {f"layers_{k}": {"body": block} for k, block in enumerate(blocks)}
    return {
        "head": {"layers_0": conv(encoder.conv_first)},
        "body": {**body, f"layers_{len(body)}": conv(encoder.conv_after_body)},
    }


def rdn_tree(encoder: Any) -> dict[str, Any]:
    convs = (encoder.conv_first, encoder.conv_second, encoder.global_fusion, encoder.conv_after_body)
    tree: dict[str, Any] = {f"Conv_{k}": conv(layer) for k, layer in enumerate(convs)}
    for k, block in enumerate(encoder.body):
        dense = {f"RDB_Conv_{n}": {"Conv_0": conv(layer)} for n, layer in enumerate(block.convs)}
        tree[f"RDB_{k}"] = {**dense, "Conv_0": conv(block.local_fusion)}
    return tree


def convnext_tree(tail: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for k, layer in enumerate(tail.layers):
        if isinstance(layer, Pointwise):
            tree[f"layers_{k}"] = {"LayerNorm_0": norm(layer.norm), "Conv_0": conv_1x1(layer.linear)}
        else:
            tree[f"layers_{k}"] = {"residual": {
                "layers_0": conv(layer.depthwise), "layers_1": norm(layer.expand.norm),
                "layers_2": conv_1x1(layer.expand.linear), "layers_4": conv_1x1(layer.contract),
            }}  # fmt: skip
    return tree


def flax_tree(net: Any) -> dict[str, Any]:
    """Return the parameters of a Thera Air or Plus with the names and layout of the official code."""
    n, tree = net.decoder.num_freq, edsr_tree if isinstance(net.encoder, EDSR) else rdn_tree
    weight, bias = net.decoder.hyper.weight.numpy(force=True), net.decoder.hyper.bias.numpy(force=True)
    # In the official layout, the amplitudes (num_freq, 3) come first.
    order = [n + d * n + k for k in range(n) for d in range(3)] + list(range(n))
    return {
        "components": net.decoder.freq.numpy(force=True), "k": net.decoder.kappa.numpy(force=True),
        "encoder": tree(net.encoder), "out_conv": {"kernel": weight[order].T[None, None], "bias": bias[order]},
        **({} if net.decoder.tail is None else {"refine": convnext_tree(net.decoder.tail)}),
    }  # fmt: skip


def thera(encoder: str, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    net = build_network({"type": "Thera", "encoder": {"type": encoder}, "mean": MEAN, **kwargs}).eval()
    torch.nn.init.normal_(net.decoder.hyper.bias)
    for module in net.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    return net


@pytest.fixture
def flax_and_optax(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """Classes that are pickled like Flax's and Optax's."""

    class FrozenDict(dict[str, Any]):
        def __reduce__(self) -> Any:
            return FrozenDict, (dict(self),)

    class ScaleByAdamState(tuple[Any]):
        pass

    classes = {"flax.core.frozen_dict": FrozenDict, "optax._src.transform": ScaleByAdamState}
    for name, cls in classes.items():
        cls.__module__, cls.__qualname__ = name, cls.__name__
        parts = name.split(".")
        for k in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:k]), ModuleType(parts[k - 1]))
        setattr(sys.modules[name], cls.__name__, cls)
    return {cls.__name__: cls for cls in classes.values()}


def test_official_checkpoint_loads_without_flax(
    tmp_path: Path, flax_and_optax: dict[str, type], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, path = thera("EDSR"), tmp_path / "thera-edsr-air.pkl"
    model = flax_and_optax["FrozenDict"]({"params": flax_tree(net)})
    state = flax_and_optax["ScaleByAdamState"]([np.zeros(3)])
    path.write_bytes(pickle.dumps({"model": model, "optimizer": state, "backbone": "edsr-baseline", "size": "air"}))
    monkeypatch.delitem(sys.modules, "flax.core.frozen_dict")
    loaded, lq = checkpoint.load(path), torch.rand(1, 3, 5, 6)
    assert torch.equal(loaded.render(lq, (11, 13)), net.render(lq, (11, 13)))
    assert loaded.encoder.out_channels == 64 and loaded.decoder.num_freq == 32


def test_parameters_of_thera_plus_with_rdn() -> None:
    net = thera("RDN", tail={"type": "ConvNeXt"}, num_freq=512)
    converted, own = from_flax(flax_tree(net)), net.state_dict()
    assert converted["network_g"]["encoder"] == {"type": "RDN"} and converted["network_g"]["num_freq"] == 512
    assert converted["params"].keys() == own.keys()
    assert all(torch.equal(value, own[key]) for key, value in converted["params"].items())


class Code:
    def __reduce__(self) -> Any:
        return os.system, ("echo run > run.txt",)


@pytest.mark.parametrize("data, message", [
    ({"model": Code()}, f"refused, because it contains more than numbers ({os.system.__module__}.system)"),
    ([1, 2], "not a checkpoint of Thera; it does not contain model: params"),
    ({"model": {"params": {"k": np.ones(())}}}, "not the parameters of Thera air with EDSR; decoder."),
    ({"model": {"params": {"other": np.ones(3)}}}, "not the parameters of Thera air with EDSR; other does not fit"),
    ({"model": {"params": {"k": "text"}}}, "not the parameters of Thera air with EDSR; k does not fit"),
], ids=["code", "list", "incomplete", "another", "text"])  # fmt: skip
def test_other_pickles_are_refused(
    data: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps(data))
    with pytest.raises(LIIFError) as error:
        checkpoint.load(path)
    assert str(error.value).startswith(f"{path}: {message}") and "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["other.pkl"]


def test_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pkl"
    path.write_bytes(b"\x80\x04no pickle")
    with pytest.raises(LIIFError, match="damaged.pkl: not a checkpoint of Thera, or damaged"):
        checkpoint.load(path)
