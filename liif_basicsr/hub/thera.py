"""Convert official Thera checkpoints (github.com/prs-eth/thera) to ours, without running code from them.

They are pickles that contain a Flax parameter tree: `{'model': {'params': ...}, 'backbone': 'edsr-baseline' | 'rdn',
'size': 'air' | 'plus' | 'pro'}`. Checkpoints that were written during training contain the optimizer's state
instead of `backbone` and `size`.
"""
from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError

ENCODERS = {"edsr-baseline": "EDSR", "rdn": "RDN"}
SIZES: dict[str, dict[str, Any]] = {
    "air": {"num_freq": 32, "tail": None},
    "plus": {"num_freq": 512, "tail": {"type": "ConvNeXt"}},
    "pro": {"num_freq": 512, "tail": {"type": "SwinIRTail"}},
}
MEAN = [0.4488, 0.4371, 0.4040]

# Pattern in Flax names -> our name. All patterns are applied, in this order.
NAMES = (
    (r"^encoder\.head\.layers_0", "encoder.conv_first"),
    (r"^encoder\.body\.layers_(\d+)\.body\.layers_0", r"encoder.body.\1.conv1"),
    (r"^encoder\.body\.layers_(\d+)\.body\.layers_2", r"encoder.body.\1.conv2"),
    (r"^encoder\.body\.layers_\d+", "encoder.conv_after_body"),
    (r"^encoder\.RDB_(\d+)\.RDB_Conv_(\d+)\.Conv_0", r"encoder.body.\1.convs.\2"),
    (r"^encoder\.RDB_(\d+)\.Conv_0", r"encoder.body.\1.local_fusion"),
    (r"^encoder\.Conv_0", "encoder.conv_first"),
    (r"^encoder\.Conv_1", "encoder.conv_second"),
    (r"^encoder\.Conv_2", "encoder.global_fusion"),
    (r"^encoder\.Conv_3", "encoder.conv_after_body"),
    (r"^refine\.layers_(\d+)\.residual\.layers_0", r"decoder.tail.layers.\1.depthwise"),
    (r"^refine\.layers_(\d+)\.residual\.layers_1", r"decoder.tail.layers.\1.expand.norm"),
    (r"^refine\.layers_(\d+)\.residual\.layers_2", r"decoder.tail.layers.\1.expand.linear"),
    (r"^refine\.layers_(\d+)\.residual\.layers_4", r"decoder.tail.layers.\1.contract"),
    (r"^refine\.layers_(\d+)\.LayerNorm_0", r"decoder.tail.layers.\1.norm"),
    (r"^refine\.layers_(\d+)\.Conv_0", r"decoder.tail.layers.\1.linear"),
    (r"^refine\.Conv_0", "decoder.tail.arch.conv_first"),
    (r"^refine\.Conv_1", "decoder.tail.arch.conv_after_body"),
    (r"^refine\.Conv_2", "decoder.tail.arch.conv_before_upsample.0"),
    (r"^refine\.PatchEmbed_0\.LayerNorm_0", "decoder.tail.arch.patch_embed.norm"),
    (r"^refine\.LayerNorm_0", "decoder.tail.arch.norm"),
    (r"^refine\.RSTB_(\d+)\.Conv_0", r"decoder.tail.arch.layers.\1.conv"),
    (
        r"^refine\.RSTB_(\d+)\.BasicLayer_0\.SwinTransformerBlock_(\d+)",
        r"decoder.tail.arch.layers.\1.residual_group.blocks.\2",
    ),
    (r"\.LayerNorm_0", ".norm1"),
    (r"\.LayerNorm_1", ".norm2"),
    (r"\.WindowAttention_0", ".attn"),
    (r"\.Mlp_0\.Dense_0", ".mlp.fc1"),
    (r"\.Mlp_0\.Dense_1", ".mlp.fc2"),
    (r"\.(kernel|scale)$", ".weight"),
)

# NumPy functions that rebuild pickled arrays and numbers. Their modules have other names in other versions of NumPy.
NUMPY_FUNCTIONS = {"_reconstruct": np.zeros(1).__reduce__()[0], "scalar": np.float32(0).__reduce__()[0]}


def read_thera(file: IO[bytes]) -> dict[str, Any]:
    """Read an official checkpoint of Thera and convert it to ours: {'params', 'network_g'}.

    Raises:
        LIIFError: the file contains more than numbers, or is not a Thera checkpoint. A damaged file can raise any other
            exception.
    """
    data = Unpickler(file).load()
    model = data.get("model") if isinstance(data, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("params"), dict):
        raise LIIFError("not a checkpoint of Thera; it does not contain model: params")
    return from_flax(model["params"])


class Unpickler(pickle.Unpickler):
    """Reads dicts and NumPy arrays. Other classes are refused, except the optimizer's states, which are dropped."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the function or class for a global name in the file. Only names that cannot run code are allowed."""
        top = module.partition(".")[0]
        if top == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if top == "numpy" and name in NUMPY_FUNCTIONS:
            return NUMPY_FUNCTIONS[name]
        if module == "flax.core.frozen_dict" and name == "FrozenDict":
            return dict
        if top == "optax":
            return Dropped
        raise LIIFError(f"refused, because it contains more than numbers ({module}.{name})")


class Dropped(tuple):
    """Replaces an optimizer's state, and ignores its content."""

    def __new__(cls, *args: Any) -> Dropped:
        return super().__new__(cls)


def from_flax(params: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a tree of official parameters to a checkpoint in our format.

    The encoder and the size ('air', 'plus', 'pro') are inferred from the parameters' names.

    Raises:
        LIIFError: the parameters do not fit a Thera network.
    """
    arrays = {name: np.asarray(value) for name, value in _flatten(params)}
    kind = "plus" if any("residual" in name for name in arrays) else "pro" if "refine" in params else "air"
    encoder = "RDN" if any("RDB_" in name for name in arrays) else "EDSR"
    network = {"type": "Thera", "encoder": {"type": encoder}, **SIZES[kind], "mean": MEAN}
    own = build_network(network).state_dict()
    ours = {key: value for key, value in own.items() if key.endswith(("relative_position_index", "attn_mask"))}
    for name, array in arrays.items():
        try:
            key, value = _convert(name, array, own, network["num_freq"])
        except (RuntimeError, TypeError, ValueError):  # the shape is wrong, or the values are not numbers
            key, value = name, torch.empty(0)
        if key not in own or value.shape != own[key].shape:
            raise LIIFError(f"not the parameters of Thera {kind} with {encoder}; {name} does not fit")
        ours[key] = value
    missing = own.keys() - ours.keys()
    if missing:
        raise LIIFError(f"not the parameters of Thera {kind} with {encoder}; {min(missing)} is missing")
    return {"params": ours, "network_g": network}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _convert(name: str, array: np.ndarray, own: Mapping[str, Tensor], num_freq: int) -> tuple[str, Tensor]:
    """Return our name for an official parameter, and its values in our layout."""
    value = torch.from_numpy(np.array(array, np.float32))
    if name in ("components", "k"):
        return {"components": "decoder.freq", "k": "decoder.kappa"}[name], value
    if name.startswith("out_conv."):
        # The amplitudes (num_freq, D) come first, then the phases.
        value = value.flatten(0, -2).T if value.dim() > 1 else value
        amplitude, phase = value[:-num_freq].unflatten(0, (num_freq, -1)), value[-num_freq:]
        value = torch.cat([phase, amplitude.transpose(0, 1).flatten(0, 1)])
        return "decoder.hyper." + ("weight" if "kernel" in name else "bias"), value.contiguous()
    for pattern, ours in NAMES:
        name = re.sub(pattern, ours, name)
    if value.dim() == 4:
        value = value.permute(3, 2, 0, 1)
        if name in own and own[name].dim() == 2:  # a 1x1 convolution
            value = value[:, :, 0, 0]
    elif value.dim() == 2 and name.endswith(".weight"):
        value = value.T
    return name, value.contiguous()
