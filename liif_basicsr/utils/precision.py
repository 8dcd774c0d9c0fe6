"""The precision that networks compute in."""
from __future__ import annotations

import torch

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
