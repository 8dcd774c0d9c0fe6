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
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.hub.thera import MEAN


def flax_tree(net: Any) -> dict[str, Any]:
    """Return the parameters of a Thera Air with the names and layout of the official code."""
    n = net.decoder.num_freq

    def conv(layer: torch.nn.Conv2d) -> dict[str, np.ndarray]:
        return {"kernel": layer.weight.permute(2, 3, 1, 0).numpy(force=True), "bias": layer.bias.numpy(force=True)}

    body: dict[str, Any] = {
        f"layers_{k}": {"body": {"layers_0": conv(block.conv1), "layers_2": conv(block.conv2)}}
        for k, block in enumerate(net.encoder.body)
    }
    body["layers_16"] = conv(net.encoder.conv_after_body)
    weight, bias = net.decoder.hyper.weight.numpy(force=True), net.decoder.hyper.bias.numpy(force=True)
    # Amplitudes (num_freq, 3) come first there.
    order = [n + d * n + k for k in range(n) for d in range(3)] + list(range(n))
    return {
        "components": net.decoder.freq.numpy(force=True), "k": net.decoder.kappa.numpy(force=True),
        "encoder": {"head": {"layers_0": conv(net.encoder.conv_first)}, "body": body},
        "out_conv": {"kernel": weight[order].T[None, None], "bias": bias[order]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    net = build_network({"type": "Thera", "encoder": {"type": "EDSR"}, "num_freq": 32, "mean": MEAN}).eval()
    torch.nn.init.normal_(net.decoder.hyper.bias)
    return net


@pytest.fixture
def flax_and_optax(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """Classes that pickle as Flax's and Optax's do."""

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
    net: Any, tmp_path: Path, flax_and_optax: dict[str, type], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "thera-edsr-air.pkl"
    model = flax_and_optax["FrozenDict"]({"params": flax_tree(net)})
    state = flax_and_optax["ScaleByAdamState"]([np.zeros(3)])
    path.write_bytes(pickle.dumps({"model": model, "optimizer": state, "backbone": "edsr-baseline", "size": "air"}))
    monkeypatch.delitem(sys.modules, "flax.core.frozen_dict")
    loaded, lq = checkpoint.load(path), torch.rand(1, 3, 5, 6)
    assert torch.equal(loaded.render(lq, (11, 13)), net.render(lq, (11, 13)))
    assert loaded.encoder.out_channels == 64 and loaded.decoder.num_freq == 32


class Code:
    def __reduce__(self) -> Any:
        return os.system, ("echo run > run.txt",)


@pytest.mark.parametrize("data, message", [
    ({"model": Code()}, f"refused, it contains more than numbers ({os.system.__module__}.system)"),
    ([1, 2], "not a checkpoint of Thera; it does not contain model: params"),
    ({"model": {"params": {"k": np.ones(())}}}, "not the parameters of Thera air with EDSR; decoder."),
    ({"model": {"params": {"other": np.ones(3)}}}, "not the parameters of Thera air with EDSR, for example other"),
    ({"model": {"params": {"k": "text"}}}, "not the parameters of Thera air with EDSR, for example k"),
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
