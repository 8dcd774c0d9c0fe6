"""Register the networks in spandrel (used by chaiNNer and ComfyUI), so that its ModelLoader loads their checkpoints.

The plugin's checkpoints describe their network in the block `network_g`, which is next to the parameters or in the
metadata of a `.safetensors` file. But spandrel detects architectures by the names of parameters: its function
`canonicalize_state_dict` drops everything else. To keep the block, this function and the reader of `.safetensors` files
are replaced in the modules of spandrel that call them. Files of other networks are read as before.

ComfyUI reads files itself and drops the metadata of `.safetensors` files. In this format, it recognizes only
networks whose parameters have the same names and shapes as a bundled model's.
"""
from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from liif_basicsr.errors import LIIFError

try:
    import spandrel
except ImportError as error:
    raise LIIFError(f"spandrel cannot be imported ({error}); run `pip install 'liif_basicsr[spandrel]'`") from error

from liif_basicsr.archs.registry import ARCHS
from liif_basicsr.hub import bundled, path_of
from liif_basicsr.hub.checkpoint import read_tensors

NAME, FILE_READER = "canonicalize_state_dict", "load_file"
_scale: int | None = None


class DescribedStateDict(dict):
    """Parameters, and the `network_g` block of their checkpoint as an attribute."""

    network_g: Mapping[str, Any]


def install(scale: int | None = None) -> list[Any]:
    """Add the plugin's networks to spandrel's registry; calling it again is harmless.

    Args:
        scale: integer upscaling factor of all networks that are loaded from now on; None keeps each network's own
            scale.

    Returns:
        The `spandrel.ArchSupport` of each added network. Architectures that others have registered are not overwritten.

    Raises:
        LIIFError: this version of spandrel is not supported.
    """
    global _scale
    _scale = None if scale is None else _integer_scale(scale)
    registry = spandrel.MAIN_REGISTRY
    _keep_network_g()
    others = tuple(support.architecture.id for support in registry if not isinstance(support.architecture, OurNetwork))
    ours = [spandrel.ArchSupport.from_architecture(OurNetwork(name), before=others) for name in ARCHS]
    return registry.add(*ours, ignore_duplicates=True)


class OurNetwork(spandrel.Architecture):
    """One of the plugin's networks as a spandrel architecture."""

    def __init__(self, name: str) -> None:
        super().__init__(id=name, detect=self._detect)

    def _detect(self, state_dict: Mapping[str, Any]) -> bool:
        if isinstance(state_dict, DescribedStateDict):
            return state_dict.network_g.get("type") == self.id
        # An official checkpoint: spandrel passes the content of its entry `model`.
        return {"name", "args", "sd"} <= state_dict.keys() and state_dict["name"] == self.id.lower()

    def load(self, state_dict: Mapping[str, Any]) -> spandrel.ImageModelDescriptor:
        """Build the network and load its parameters."""
        from liif_basicsr.archs.encoders.basicsr_arch import BasicSRArch
        from liif_basicsr.hub.checkpoint import network_of

        if isinstance(state_dict, DescribedStateDict):
            params, data = state_dict, {"network_g": state_dict.network_g, "params": state_dict}
        else:
            params, data = state_dict["sd"], {"model": state_dict}
        net: Any = network_of(data, self.name, sum(value.nbytes for value in params.values()))
        net.scale = _integer_scale(net.scale) if _scale is None else _scale
        half = not isinstance(net.encoder, BasicSRArch)  # BasicSR's networks, such as SwinIR, create float32 tensors
        return spandrel.ImageModelDescriptor(
            net, net.state_dict(), architecture=self, purpose="SR" if net.scale > 1 else "Restoration",
            tags=[type(net.encoder).__name__], supports_half=half, supports_bfloat16=half, scale=net.scale,
            input_channels=3, output_channels=3, tiling=spandrel.ModelTiling.INTERNAL,
        )  # fmt: skip


def _integer_scale(scale: float) -> int:
    if scale != int(scale) or scale < 1:
        remedy = "choose one, such as 4, with `liif_basicsr.integrations.spandrel.install(scale=4)`"
        raise LIIFError(f"scale {scale}: spandrel supports only positive integers; {remedy}")
    return int(scale)


def _keep_network_g() -> None:
    """Replace `canonicalize_state_dict` and the reader of `.safetensors` files in the modules that call them."""
    callers = [vars(sys.modules[cls.__module__]) for cls in (spandrel.ModelLoader, spandrel.ArchRegistry)]
    if any(NAME not in names for names in callers) or FILE_READER not in callers[0]:
        raise LIIFError(f"spandrel {spandrel.__version__} is not supported; run `pip install 'spandrel<0.5'`")
    for names in callers:
        if names[NAME].__module__ != __name__:
            names[NAME] = _keeping(names[NAME])
    if callers[0][FILE_READER].__module__ != __name__:
        callers[0][FILE_READER] = _keeping_metadata(callers[0][FILE_READER])


def _keeping(original: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def canonicalize_state_dict(state_dict: dict[str, Any]) -> dict[str, Any]:
        if isinstance(state_dict, DescribedStateDict):
            return state_dict
        block = state_dict.get("network_g")
        canonical = original(state_dict)
        if block is None:
            block = _block_of_bundled(canonical)
        if not isinstance(block, Mapping) or block.get("type") not in ARCHS:
            return canonical
        described = DescribedStateDict(canonical)
        described.network_g = block
        return described

    return canonicalize_state_dict


def _keeping_metadata(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def load_file(path: str | Path, device: str = "cpu") -> dict[str, Any]:
        with safe_open(path, "pt") as file:
            described = "network_g" in (file.metadata() or {})
        if not described:
            return original(path, device=device)
        data = read_tensors(path)
        return {**data, "params": {key: value.to(device) for key, value in data["params"].items()}}

    return load_file


def _block_of_bundled(state_dict: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the `network_g` block of a bundled model whose parameters have the same names and shapes, or None."""
    shapes = {key: list(value.shape) for key, value in state_dict.items() if isinstance(value, torch.Tensor)}
    for name in bundled():
        with safe_open(path_of(name), "pt") as file:
            keys = file.keys()
            if shapes.keys() == set(keys) and all(file.get_slice(key).get_shape() == shapes[key] for key in keys):
                return json.loads(file.metadata()["network_g"])
    return None
