"""Reading and writing networks: safe, whole, and telling by themselves what they are.

A checkpoint of ours is a dict of `params`, `params_ema` (where there is one) and `network_g`, the block of the
options that makes the network. BasicSR reads past the latter. No pickled code is ever run.
"""
from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.files import whole_file
from liif_basicsr.official import from_official, is_official
from liif_basicsr.zoo import find


def load(name_or_path: str | Path, param_key: str | None = None) -> nn.Module:
    """Make the network that a checkpoint holds.

    Args:
        name_or_path: a file of ours, an official one as downloaded, or the name of a known model
            (see `liif_basicsr.zoo`).
        param_key: `params` or `params_ema`; by default `params_ema` where there is one.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        LIIFError: no such file or name, a file that is no checkpoint, or one that does not say of which network.
    """
    path = find(name_or_path)
    checkpoint = read(path)
    if "network_g" not in checkpoint:
        raise LIIFError(
            f"{path}: does not say what network it is of (no network_g); train with model_type LIIFModel, "
            "or load it in an options file with pretrain_network_g"
        )
    net = build_network(checkpoint["network_g"])
    load_params(net, checkpoint, path, param_key)
    return net.eval().requires_grad_(False)


def read(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ours or an official one (converted) onto the CPU, without running code from it.

    Raises:
        LIIFError: it cannot be read, is damaged, or is no checkpoint of a network.
    """
    data = read_tensors(path)
    if is_official(data):
        return from_official(data, str(path))
    if isinstance(data, Mapping) and ("params" in data or "params_ema" in data):
        _check_parts(data, path)
        return dict(data)
    raise LIIFError(f"{path}: is no checkpoint of a network (neither params nor an official LIIF model in it)")


def _check_parts(data: Mapping[str, Any], path: str | Path) -> None:
    """Raise LIIFError if a part of ours is not of the kind that it must be."""
    for key in {"params", "params_ema", "network_g"} & data.keys():
        part = data[key]
        if not isinstance(part, Mapping):
            raise LIIFError(f"{path}: is a damaged checkpoint, its {key} is no dict")
        if key != "network_g" and not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in part.items()):
            raise LIIFError(f"{path}: is a damaged checkpoint, its {key} hold more than tensors")


def read_tensors(path: str | Path) -> Any:
    """Read what `torch.save` wrote, if it is only tensors and plain data.

    Raises:
        LIIFError: it cannot be read, is damaged, or asks for code to be run.
    """
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        raise LIIFError(f"{path}: no such file") from None
    except OSError as error:
        raise LIIFError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        with file:
            if zipfile.is_zipfile(file) and zipfile.ZipFile(file).testzip():  # torch itself looks at no checksum
                raise ValueError("wrong checksum")
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise LIIFError(f"{path}: refused, it holds more than tensors and plain data ({_brief(error)})") from None
        raise LIIFError(f"{path}: is no checkpoint, or a damaged one") from None
    except Exception as error:  # torch reports damage in many ways: RuntimeError, EOFError, KeyError, ...
        raise LIIFError(f"{path}: is no checkpoint, or a damaged one ({_brief(error)})") from None


def _brief(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__


def load_params(
    net: nn.Module, checkpoint: Mapping[str, Any], path: str | Path, param_key: str | None = None, strict: bool = True
) -> None:
    """Put a checkpoint's parameters into a network.

    Args:
        checkpoint: from `read`.
        path: how to call it in messages.
        param_key: see `load`; where the checkpoint has no such key, the one that it has.
        strict: names and shapes must be those of `net`; else those that are not are left out.

    Raises:
        LIIFError: the parameters are of another network, or not finite.
    """
    wanted = param_key or "params_ema"
    params = checkpoint[wanted if wanted in checkpoint else "params" if "params" in checkpoint else "params_ema"]
    params = {key.removeprefix("module."): value for key, value in params.items()}
    own = net.state_dict()
    wrong = [key for key in own if key not in params or params[key].shape != own[key].shape]
    wrong += [key for key in params if key not in own]
    if wrong and strict:
        raise LIIFError(
            f"{path}: is of another network than network_g: {len(wrong)} parameters differ in name or shape, such as "
            f"{wrong[0]}" + (f"; it was made with {checkpoint['network_g']}" if "network_g" in checkpoint else "")
        )
    broken = [key for key, value in params.items() if not torch.isfinite(value).all()]
    if broken:
        raise LIIFError(f"{path}: holds numbers that are not finite, in {broken[0]}")
    net.load_state_dict({key: value for key, value in params.items() if key not in wrong}, strict=strict)


def save(path: str | Path, data: Mapping[str, Any]) -> None:
    """Write to the side, then move into place: a reader finds the old file or the new one, whole.

    Raises:
        LIIFError: it cannot be written; an older file at `path` is then as it was.
    """
    try:
        with whole_file(Path(path)) as file:
            torch.save(dict(data), file)
    except (LIIFError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        reason = str(error) if isinstance(error, LIIFError) else f"cannot be written: {_brief(error)}"
        raise LIIFError(f"{path}: {reason}; what was saved before is kept") from error


def plain(value: Any) -> Any:
    """Mappings as dicts and sequences as lists, all the way down: what `read_tensors` accepts."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
