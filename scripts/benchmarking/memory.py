"""Memory of this process, on any system, or on the GPU that is the default device."""
from __future__ import annotations

import sys

import psutil
import torch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def peak_memory() -> int:
    """The largest resident size so far, or the most that tensors took on the GPU, in bytes."""
    if torch.get_default_device().type == "cuda":
        return torch.cuda.max_memory_allocated()
    if resource is None:
        return psutil.Process().memory_info().peak_wset
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # kibibytes but on macOS


def private_memory() -> int:
    """The resident size without pages that are mapped from files, in bytes."""
    process = psutil.Process()
    memory = process.memory_info()
    return memory.rss - memory.shared if hasattr(memory, "shared") else process.memory_full_info().uss
