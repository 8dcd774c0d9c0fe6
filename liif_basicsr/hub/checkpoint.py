"""Read checkpoints without running code, and write them completely or not at all.

Our checkpoints describe their network. They are dicts with these entries:
- `params` and, optionally, `params_ema`: the parameters and their moving average;
- `network_g`: the options of the network;
- `value_range` (optional): the values (low, high) of the training data that became 0 and 1.

BasicSR ignores `network_g` and `value_range`. A `.safetensors` file contains one set of parameters; the other entries
are JSON in its metadata.
"""
from __future__ import annotations

import json
import pickle
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from liif_basicsr.archs import build_network, fixed_scale_block
from liif_basicsr.archs.base import check_value_range
from liif_basicsr.errors import LIIFError, errors_about, errors_in, summarize
from liif_basicsr.files import atomic_write
from liif_basicsr.hub import find, remedy

if TYPE_CHECKING:
    from liif_basicsr.archs.base import ContinuousNetwork

# A small file must not make us build a huge network. The network may have at most as many parameters as the file has
# bytes, plus ROOM. ROOM is needed because BasicSRArch builds a whole architecture before it drops a part. Each tensor
# counts as PARAMETER_COST additional parameters, because creating its module takes time.
ROOM = 50_000_000
PARAMETER_COST = 1000


def load(
    name_or_path: str | Path,
    param_key: str | None = None,
    scale: int | None = None,
    network_g: Mapping[str, Any] | None = None,
) -> ContinuousNetwork:
    """Load a network.

    Args:
        name_or_path: the name of a known model (see `liif_basicsr.list_models`), or a file: our `.pth` or
            `.safetensors`, an official checkpoint as downloaded, or the checkpoint of a fixed-scale BasicSR network.
        param_key: `params` or `params_ema`. The default is `params_ema` if the checkpoint has it.
        scale: scale of a fixed-scale network. By default, the network is run to find the scale.
        network_g: the network's options, if the file does not contain them.

    Returns:
        The network on the CPU, in evaluation mode and trainable. A BasicSR network is wrapped in a `FixedScaleSR`.

    Raises:
        LIIFError: the file or name does not exist; the file is not a checkpoint; `network_g` is neither in the file nor
            an argument; or the two differ.
    """
    path = find(name_or_path)
    return network_of(read_tensors(path), path, path.stat().st_size, param_key, scale, network_g)


def network_of(
    data: Any, path: str | Path, size: int, param_key: str | None = None,
    scale: int | None = None, network_g: Mapping[str, Any] | None = None,
) -> ContinuousNetwork:  # fmt: skip
    """Make a network from the content of a checkpoint, see `load`.

    Args:
        data: the content of our checkpoint or of an official one; with `network_g`, a state dict is enough.
        path: name of the file in messages.
        size: size of the file in bytes.
        param_key, scale, network_g: see `load`.
    """
    with errors_about(path):
        checkpoint = _convert(data, size, allow_state_dict=network_g is not None)
        block, stored = network_g or checkpoint.get("network_g"), checkpoint.get("network_g")
        if network_g is not None and stored is not None and plain(network_g) != plain(stored):
            raise LIIFError(f"network_g: differs from the one in the file, {stored}; omit the argument")
        if block is None:
            raise LIIFError(
                "does not contain the options of its network (network_g); pass network_g to load, set the file as "
                "pretrain_network_g in an options file, or train with model_type: LIIFModel"
            )
        with _limit_network(size):
            wrapped = fixed_scale_block(block, scale)
            net: Any = build_network(wrapped)
        load_params(net, checkpoint, param_key, prefix="" if wrapped["type"] == block["type"] else "encoder.arch.")
        with errors_about("damaged checkpoint"):
            net.value_range = check_value_range(checkpoint.get("value_range"))
    return net.eval()


@contextmanager
def _limit_network(size: int) -> Iterator[None]:
    """Raise LIIFError if a network built in this context has many more parameters than fit into `size` bytes."""
    thread = threading.get_ident()  # the hook is called for modules of all threads
    room = size + ROOM

    def count(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        nonlocal room
        if threading.get_ident() != thread:
            return
        room -= PARAMETER_COST + (0 if param is None else param.numel())
        if room < 0:
            raise LIIFError("network_g: describes a network much larger than the file")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def read(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU without running code from it. Official checkpoints are converted to our format.

    Raises:
        LIIFError: the file cannot be read, is damaged, or is not the checkpoint of a network.
    """
    data = read_tensors(path)
    with errors_about(path):
        return _convert(data, Path(path).stat().st_size)


def _convert(data: Any, size: int, allow_state_dict: bool = False) -> dict[str, Any]:
    """Check a checkpoint and convert it to our format. A state dict is accepted if `allow_state_dict` is set."""
    data = data if isinstance(data, Mapping) else {}
    if isinstance(model := data.get("model"), Mapping) and {"name", "args", "sd"} <= model.keys():
        from liif_basicsr.hub.official import from_official

        _check_params(model["sd"], "sd")
        with _limit_network(size):
            return from_official(data)
    if "params" in data or "params_ema" in data:
        for key in {"params", "params_ema"} & data.keys():
            _check_params(data[key], key)
        if not isinstance(data.get("network_g", {}), Mapping):
            raise LIIFError("damaged checkpoint: its network_g is not a dict")
        return dict(data)
    if allow_state_dict and data:
        _check_params(data, "params")
        return {"params": dict(data)}
    raise LIIFError("not a checkpoint of a network; it contains neither params nor an official LIIF model")


def _check_params(params: Any, key: str) -> None:
    """Raise LIIFError unless `params`, the entry `key` of a checkpoint, is a dict of tensors."""
    if not isinstance(params, Mapping):
        raise LIIFError(f"damaged checkpoint: its {key} is not a dict")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in params.items()):
        raise LIIFError(f"damaged checkpoint: its {key} contains entries that are not tensors")


def read_tensors(path: str | Path) -> Any:
    """Read a file written by `torch.save` that contains only tensors and plain data, or a `.safetensors` file.

    A `.pkl` file is read as an official Thera checkpoint and converted.

    Raises:
        LIIFError: the file cannot be read, is damaged, or contains code.
    """
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        raise LIIFError(f"{path}: no such file") from None
    except OSError as error:
        raise LIIFError(f"{path}: cannot be read: {error.strerror}") from None
    suffix = Path(path).suffix
    kind = {".safetensors": "safetensors file", ".pkl": "checkpoint of Thera"}.get(suffix, "checkpoint")
    try:  # the readers raise exceptions of any type for damaged files
        with file, errors_about(path), errors_in(f"not a {kind}, or damaged", Exception):
            if suffix == ".safetensors":
                return _read_safetensors(file.read())
            if suffix == ".pkl":
                from liif_basicsr.hub.thera import read_thera

                return read_thera(file)
            return _read_torch(file, Path(path).stat().st_size)
    except LIIFError as error:
        raise LIIFError(f"{error}{remedy(path)}") from None


def _read_torch(file: IO[bytes], size: int) -> Any:
    """Read a file of `size` bytes that `torch.save` has written."""
    is_zip = zipfile.is_zipfile(file)
    if is_zip:  # torch checks neither sizes nor checksums
        archive = zipfile.ZipFile(file)
        if sum(part.file_size for part in archive.infolist()) > size:
            raise ValueError("decompresses to more than its file size")
        if archive.testzip():
            raise ValueError("wrong checksum")
    file.seek(0)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, LookupError, AttributeError, EOFError, ValueError) as error:
        if not is_zip:
            raise ValueError("neither a zip archive nor a pickle of tensors") from None
        if not isinstance(error, pickle.UnpicklingError):
            raise
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"more than tensors and plain data ({found[1] if found else 'code'})"
        raise LIIFError(f"refused, because it contains {what}; save net.state_dict(), not the network") from None


def _read_safetensors(content: bytes) -> dict[str, Any]:
    """Parse the content of a `.safetensors` file as one of our checkpoints. The file's metadata become entries."""
    checkpoint: dict[str, Any] = {"params": safetensors.torch.load(content)}
    # safetensors reads metadata only from a path, so parse the header: 8 bytes with its length, then JSON.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    for key, text in header.get("__metadata__", {}).items():
        if key not in ("network_g", "value_range"):
            checkpoint.setdefault(key, text)
            continue
        try:
            checkpoint[key] = json.loads(text)
        except ValueError:
            remedy = "pass network_g to load" if key == "network_g" else "save it again"
            raise LIIFError(f"{key} in its metadata is not JSON; {remedy}") from None
    return checkpoint


def load_params(
    net: nn.Module, checkpoint: Mapping[str, Any], param_key: str | None = None, strict: bool = True, prefix: str = ""
) -> tuple[str, list[str]]:
    """Load a checkpoint's parameters into a network.

    Args:
        net: the network.
        checkpoint: a checkpoint in our format, see `read`.
        param_key: see `load`. If the checkpoint lacks this key, the other key is used.
        strict: whether all names and shapes must match the network's. Otherwise, parameters that differ are left out.
        prefix: prefix of the network's parameter names that the names in the checkpoint lack.

    Returns:
        The key that was used, and the names of the parameters that do not fit.

    Raises:
        LIIFError: the parameters belong to another network, none of them fits, or one is not finite.
    """
    used, stored = _choose_params(checkpoint, param_key)
    params = {prefix + key.removeprefix("module."): value for key, value in stored.items()}
    own = net.state_dict()
    wrong = [key for key in own if key not in params or not _fits(params[key], own[key])]
    wrong += [key for key in params if key not in own]
    params = {key: value for key, value in params.items() if key not in wrong}
    if wrong and strict:
        block = f"; the file's network_g is {checkpoint['network_g']}" if "network_g" in checkpoint else ""
        raise LIIFError(f"the parameters do not fit network_g: {len(wrong)} parameters differ in name or shape, such "
                        f"as {wrong[0]}{block}")  # fmt: skip
    if not params:
        raise LIIFError("the parameters do not fit network_g: no parameter fits in name and shape")
    broken = [key for key, value in params.items() if not torch.isfinite(value).all()]
    if broken:
        raise LIIFError(f"contains numbers that are not finite, in {broken[0]}; use another checkpoint")
    net.load_state_dict(params, strict=strict)
    return used, wrong


def _choose_params(checkpoint: Mapping[str, Any], param_key: str | None = None) -> tuple[str, Mapping[str, Any]]:
    """Return a key and its parameters: `param_key` (default: `params_ema`) or, if it is missing, the other key."""
    for key in (param_key or "params_ema", "params", "params_ema"):
        if key in checkpoint:
            return key, checkpoint[key]
    return "params", {}


def _fits(value: Tensor, own: Tensor) -> bool:
    """Return whether a file's tensor fits a parameter. The precision may differ."""
    same_kind = value.is_floating_point() == own.is_floating_point() and value.is_complex() == own.is_complex()
    return value.shape == own.shape and same_kind and value.layout == own.layout and not value.is_quantized


def save(path: str | Path, data: Mapping[str, Any], overwrite: bool = True) -> None:
    """Write a checkpoint atomically: readers find either the old file or the complete new one.

    A `.safetensors` file contains one set of parameters, the EMA if there is one. Everything else becomes metadata.

    Raises:
        LIIFError: the file cannot be written, or it exists and `overwrite` is not set. An existing file is left
            unchanged.
    """
    try:
        with atomic_write(Path(path), overwrite) as file:
            if str(path).endswith(".safetensors"):
                file.write(_to_safetensors(data))
            else:
                torch.save(dict(data), file)
    except (LIIFError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        if isinstance(error.__context__, KeyboardInterrupt):  # torch does the same for an interrupt
            raise error.__context__ from None
        reason = str(error) if isinstance(error, LIIFError) else f"cannot be written: {summarize(error)}"
        raise LIIFError(f"{path}: {reason}; an existing file is unchanged") from error


def _to_safetensors(data: Mapping[str, Any]) -> bytes:
    metadata = {"format": "pt"}
    for key, value in data.items():
        if key not in ("params", "params_ema"):
            try:
                metadata[key] = value if isinstance(value, str) else json.dumps(plain(value))
            except TypeError:  # for example, a tensor
                raise LIIFError(f"its entry {key!r} cannot be stored in a .safetensors file; write a .pth") from None
    params = {key: value.detach().cpu().contiguous() for key, value in _choose_params(data)[1].items()}
    return safetensors.torch.save(params, metadata)


def plain(value: Any) -> Any:
    """Convert mappings to dicts and sequences to lists, recursively: the types that `read_tensors` accepts."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
