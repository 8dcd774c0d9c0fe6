"""Devices: why a GPU is not used, the precision networks compute in, and torch's threads."""
from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

DRIVER = Path("/proc/driver/nvidia/version")


def unfit_driver() -> str | None:
    """Which driver does not fit this torch, and what to do; None where there is no NVIDIA GPU, or torch can use it.

    Seen on Linux only; elsewhere drivers do not tell of themselves without their own tools.
    """
    if torch.cuda.is_available() or not DRIVER.is_file():
        return None
    found = re.search(r"Kernel Module\D*([\d.]+)", DRIVER.read_text(encoding="utf-8", errors="replace"))
    driver = f"the NVIDIA driver {found[1]}" if found else "this machine's NVIDIA driver"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is made for no NVIDIA GPU; install one that is, see pytorch.org"
    return (
        f"{driver} does not fit torch {torch.__version__}, made for CUDA {torch.version.cuda}; "
        "update the driver, or install a torch that is made for an older CUDA, see pytorch.org"
    )

# Name -> what autocast is given; None where it is not needed.
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def best_precision(device: torch.device, bits: int) -> str:
    """The precision that is fast and exact enough for images of 8 or 16 bits.

    Returns:
        For 8 bits bfloat16 where the processor has instructions for it (its rounding is about a thousandth, a
        quarter of an 8-bit step), else float32.
    """
    return "bfloat16" if bits == 8 and bfloat16_is_fast(device) else "float32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """A context in which networks compute in a precision of PRECISIONS."""
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether the processor has instructions for bfloat16; without them it is many times as slow as float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Processors with AMX have these as well. A torch too old to know runs float32.
    return device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Within it, or in a function that it decorates, torch uses `count` threads for what this thread computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
