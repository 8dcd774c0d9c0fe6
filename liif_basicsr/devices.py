"""Devices: GPU drivers, precision, and torch's threads."""
from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

from liif_basicsr.errors import LIIFError, summarize

P = ParamSpec("P")
R = TypeVar("R")

DRIVER = Path("/proc/driver/nvidia/version")


def unfit_driver() -> str | None:
    """Return why torch cannot use this machine's NVIDIA driver, with the remedy, or None if it can.

    On systems other than Linux it returns None, because they do not publish the driver's version in a file.
    """
    if torch.cuda.is_available() or not DRIVER.is_file():
        return None
    found = re.search(r"Kernel Module\D*([\d.]+)", DRIVER.read_text(encoding="utf-8", errors="replace"))
    driver = f"the NVIDIA driver {found[1]}" if found else "this machine's NVIDIA driver"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} does not support NVIDIA GPUs; install a build that does, see pytorch.org"
    return (
        f"{driver} does not support torch {torch.__version__}, built for CUDA {torch.version.cuda}; "
        "update the driver, or install a build of torch for an older CUDA, see pytorch.org"
    )


# Name -> dtype for autocast, or None if autocast is not needed. On NVIDIA GPUs with compute capability 8.0 or higher,
# tf32 means float32 whose products are computed with 10-bit mantissas. On other devices it is the same as float32.
PRECISIONS = {"float32": None, "tf32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Whether the caller has enabled TF32 with `tf32` or `autocast`.
_tf32_chosen: ContextVar[bool] = ContextVar("_tf32_chosen", default=False)


def best_precision(device: torch.device, bits: int) -> str:
    """Return the fastest precision that is exact enough for 8-bit or 16-bit images.

    For 8-bit images this is bfloat16, if the device has instructions for it. In all other cases it is float32. bfloat16
    changes the output by about 0.001, a quarter of an 8-bit step.
    """
    return "bfloat16" if bits == 8 and bfloat16_is_fast(device) else "float32"


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Compute in one of PRECISIONS, by setting torch's autocast and TF32."""
    dtype = PRECISIONS[precision]
    with tf32(device, precision == "tf32"), torch.autocast(device.type, dtype, enabled=dtype is not None):
        yield


@contextmanager
def tf32(device: torch.device, enabled: bool) -> Iterator[None]:
    """Compute float32 products in TF32 if `enabled`, else in full float32, in forward and backward passes."""
    chosen = _tf32_chosen.set(enabled)
    try:
        with exact_float32(device):
            yield
    finally:
        _tf32_chosen.reset(chosen)


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Compute float32 products in full float32 on an NVIDIA GPU, unless the caller has enabled TF32.

    By default torch computes float32 convolutions in TF32, which changes outputs in [0, 1] by about 1e-5.
    """
    if device.type != "cuda":
        yield
        return
    switches: Any = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = _tf32_chosen.get()
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


def bfloat16_is_fast(device: torch.device) -> bool:
    """Return whether a device has bfloat16 instructions. Without them, bfloat16 is much slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Processors with AMX also have AVX-512 BF16. If torch is too old to report this, return False.
    return device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


def open_device(name: str | None) -> torch.device:
    """Return the device with a name such as `cuda:1`. Without a name, return the GPU if there is one, else the CPU.

    Raises:
        LIIFError: torch cannot use the device.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise LIIFError(f"device {name!r}: not usable here ({summarize(error)}); use 'cpu' instead") from None
    return device


def upload(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy a NumPy array to a device. On a GPU, this does not wait for the work that is queued there."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type != "mps")


def check_precision(precision: str, device: torch.device, where: str, instead: str = "float16 or float32") -> None:
    """Raise unless a device can compute in a precision.

    Args:
        precision: one of PRECISIONS.
        device: device that would compute in it.
        where: start of the message; names the option.
        instead: end of the message; the precisions or options to use instead.

    Raises:
        LIIFError: `precision` is bfloat16, and the NVIDIA GPU has no instructions for it.
    """
    if precision == "bfloat16" and device.type == "cuda" and not bfloat16_is_fast(device):
        gpu = torch.cuda.get_device_name(device)
        raise LIIFError(f"{where}: {gpu} has no instructions for bfloat16; use {instead}")


@contextmanager
def gpu_memory_errors(where: str, instead: str) -> Iterator[None]:
    """Turn torch's error about insufficient GPU memory into a LIIFError.

    Args:
        where: start of the message; names the task that needs too much memory.
        instead: end of the message; what to do instead.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise LIIFError(f"{where}: not enough GPU memory{_gpu_memory()}; {instead}") from None


@contextmanager
def compiler_errors(where: str) -> Iterator[None]:
    """Turn errors of torch.compile into a LIIFError. `where` names the option that enables it."""
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        raise LIIFError(f"{where}: torch.compile failed ({summarize(error)}); remove the option") from error


def never_compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that torch.compile neither compiles it nor the functions that it calls.

    Modules that are compiled on their own still run compiled. The decorator works like `torch.compiler.disable`, but
    does not import torch's compiler. Before anything has imported the compiler, nothing is compiled anyway.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if "torch._dynamo" in sys.modules:
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return run


def _gpu_memory() -> str:
    """Describe the memory usage of the current GPU, in parentheses. Return an empty string without a GPU."""
    if not torch.cuda.is_available():
        return ""
    free, total = torch.cuda.mem_get_info()
    others = total - free - torch.cuda.memory_reserved()
    used = f", {others / 2**30:.1f} GiB used by other processes, see `nvidia-smi`" if others > total / 20 else ""
    return f" ({free / 2**30:.1f} of {total / 2**30:.1f} GiB free{used})"


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Context manager or decorator that makes torch use `count` threads for the computations of the calling thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
