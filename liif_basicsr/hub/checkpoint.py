"""Checkpoints: read without running code, written whole, and self-describing.

A checkpoint of ours is a dict of `params`, `params_ema` (where there is one) and `network_g`, the block of the
options that makes the network. BasicSR reads past the latter. No pickled code is ever run.
"""
from __future__ import annotations

import pickle
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from liif_basicsr.archs import build_network, fixed_scale_block
from liif_basicsr.errors import LIIFError, brief
from liif_basicsr.files import atomic_write
from liif_basicsr.hub import find
from liif_basicsr.hub.official import from_official, is_official

# A file may describe a network of as many numbers as it has bytes, and ROOM more: an encoder that is tapped out of an
# architecture drops the rest of it. A parameter costs some numbers besides, for its module takes time to make.
ROOM = 50_000_000
COST_OF_ONE = 1000


def load(
    name_or_path: str | Path,
    param_key: str | None = None,
    scale: int | None = None,
    network_g: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Make the network that a checkpoint holds.

    Args:
        name_or_path: a file of ours, an official one as downloaded, one of a BasicSR network of one scale, or the
            name of a known model (see `liif_basicsr.hub`).
        param_key: `params` or `params_ema`; by default `params_ema` where there is one.
        scale: of a network of one scale; found out where it is not given.
        network_g: the block of the options that makes the network, for a file that does not tell.

    Returns:
        The network on the CPU, in evaluation mode and trainable; one of BasicSR as a `FixedScaleSR`.

    Raises:
        LIIFError: no such file or name, a file that is no checkpoint, or one that does not say of which network.
    """
    path = find(name_or_path)
    return network_of(read_tensors(path), path, path.stat().st_size, param_key, scale, network_g)


def network_of(
    data: Any, path: str | Path, size: int, param_key: str | None = None,
    scale: int | None = None, network_g: Mapping[str, Any] | None = None,
) -> nn.Module:  # fmt: skip
    """As `load`, from what was read from a file already.

    Args:
        data: a checkpoint of ours or an official one; with `network_g`, nothing but parameters will do.
        path: how to call it in messages.
        size: bytes of the file.
        param_key, scale, network_g: see `load`.
    """
    checkpoint = _converted(data, path, size, plain_too=network_g is not None)
    block = network_g or checkpoint.get("network_g")
    if block is None:
        raise LIIFError(
            f"{path}: does not say which network it holds (no network_g); train with model_type LIIFModel, give "
            "network_g to load, or load it in an options file with pretrain_network_g"
        )
    with _no_larger_than(size, path):
        wrapped = fixed_scale_block(block, scale)
        net = build_network(wrapped)
    prefix = "" if wrapped["type"] == block["type"] else "encoder.arch."
    load_params(net, checkpoint, path, param_key, prefix=prefix)
    return net.eval()


@contextmanager
def _no_larger_than(size: int, path: str | Path) -> Iterator[None]:
    """Refuse to build a network much larger than the file of `size` bytes that describes it; errors name the file."""
    thread = threading.get_ident()  # the hook is called for modules of all threads
    room = size + ROOM

    def count(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        nonlocal room
        if threading.get_ident() != thread:
            return
        room -= COST_OF_ONE + (0 if param is None else param.numel())
        if room < 0:
            raise LIIFError("network_g: asks for a network that is much larger than what the file holds")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except LIIFError as error:
        raise LIIFError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    finally:
        hook.remove()


def read(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ours or an official one (converted) onto the CPU, without running code from it.

    Raises:
        LIIFError: it cannot be read, is damaged, or is no checkpoint of a network.
    """
    return _converted(read_tensors(path), path, Path(path).stat().st_size)


def _converted(data: Any, path: str | Path, size: int, plain_too: bool = False) -> dict[str, Any]:
    """A checkpoint of ours; an official one is converted, and nothing but parameters accepted if they will do."""
    if is_official(data):
        _check_params(data["model"]["sd"], "sd", path)
        with _no_larger_than(size, path):
            return from_official(data, str(path))
    if isinstance(data, Mapping) and ("params" in data or "params_ema" in data):
        _check_parts(data, path)
        return dict(data)
    if plain_too and isinstance(data, Mapping) and data:
        _check_params(data, "params", path)
        return {"params": dict(data)}
    raise LIIFError(f"{path}: is no checkpoint of a network (neither params nor an official LIIF model in it)")


def _check_parts(data: Mapping[str, Any], path: str | Path) -> None:
    """Raise LIIFError if a part of ours is not of the kind that it must be."""
    for key in {"params", "params_ema", "network_g"} & data.keys():
        part = data[key]
        if key != "network_g":
            _check_params(part, key, path)
        elif not isinstance(part, Mapping):
            raise LIIFError(f"{path}: is a damaged checkpoint, its {key} is no dict")


def _check_params(params: Any, key: str, path: str | Path) -> None:
    """Raise LIIFError unless parameters are tensors by name."""
    if not isinstance(params, Mapping):
        raise LIIFError(f"{path}: is a damaged checkpoint, its {key} is no dict")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in params.items()):
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
            if zipfile.is_zipfile(file):
                _check_zip(zipfile.ZipFile(file), Path(path).stat().st_size)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise LIIFError(f"{path}: refused, it holds more than tensors and plain data ({brief(error)})") from None
        raise LIIFError(f"{path}: is no checkpoint, or a damaged one") from None
    except Exception as error:  # torch reports damage in many ways: RuntimeError, EOFError, KeyError, ...
        raise LIIFError(f"{path}: is no checkpoint, or a damaged one ({brief(error)})") from None


def _check_zip(file: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError for what torch itself looks at in no file: checksums, and parts that unfold to more than it."""
    if sum(part.file_size for part in file.infolist()) > size:
        raise ValueError("unfolds to more than it holds")
    if file.testzip():
        raise ValueError("wrong checksum")


def load_params(
    net: nn.Module,
    checkpoint: Mapping[str, Any],
    path: str | Path,
    param_key: str | None = None,
    strict: bool = True,
    prefix: str = "",
) -> None:
    """Put a checkpoint's parameters into a network.

    Args:
        checkpoint: from `read`.
        path: how to call it in messages.
        param_key: see `load`; where the checkpoint has no such key, the one that it has.
        strict: names and shapes must be those of `net`; else those that are not are left out.
        prefix: what the names in `net` have before those of the checkpoint.

    Raises:
        LIIFError: the parameters belong to another network, or are not finite.
    """
    wanted = param_key or "params_ema"
    params = checkpoint[wanted if wanted in checkpoint else "params" if "params" in checkpoint else "params_ema"]
    params = {prefix + key.removeprefix("module."): value for key, value in params.items()}
    own = net.state_dict()
    wrong = [key for key in own if key not in params or not _fits(params[key], own[key])]
    wrong += [key for key in params if key not in own]
    params = {key: value for key, value in params.items() if key not in wrong}
    if wrong and strict:
        raise LIIFError(
            f"{path}: holds another network than network_g: {len(wrong)} parameters differ in name or form, such as "
            f"{wrong[0]}" + (f"; it was made with {checkpoint['network_g']}" if "network_g" in checkpoint else "")
        )
    broken = [key for key, value in params.items() if not torch.isfinite(value).all()]
    if broken:
        raise LIIFError(f"{path}: holds numbers that are not finite, in {broken[0]}")
    net.load_state_dict(params, strict=strict)


def _fits(value: Tensor, own: Tensor) -> bool:
    """Whether a tensor of a file is one as the network has it; another precision is none of that."""
    same_kind = value.is_floating_point() == own.is_floating_point() and value.is_complex() == own.is_complex()
    return value.shape == own.shape and same_kind and value.layout == own.layout and not value.is_quantized


def save(path: str | Path, data: Mapping[str, Any]) -> None:
    """Write to the side, then move into place: a reader finds the old file or the new one, whole.

    Raises:
        LIIFError: it cannot be written; an older file at `path` is then as it was.
    """
    try:
        with atomic_write(Path(path)) as file:
            torch.save(dict(data), file)
    except (LIIFError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        if isinstance(error.__context__, KeyboardInterrupt):  # and an interrupt so as well, at the file's end
            raise error.__context__ from None
        reason = str(error) if isinstance(error, LIIFError) else f"cannot be written: {brief(error)}"
        raise LIIFError(f"{path}: {reason}; what was saved before is kept") from error


def plain(value: Any) -> Any:
    """Mappings as dicts and sequences as lists, all the way down: what `read_tensors` accepts."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
