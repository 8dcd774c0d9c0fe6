"""Memory of this process, or of the GPU if it is the default device."""
from __future__ import annotations

import sys

import psutil
import torch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def peak_memory() -> int:
    """Return the peak resident size so far, or the peak of allocated GPU memory, in bytes."""
    if torch.get_default_device().type == "cuda":
        return torch.cuda.max_memory_allocated()
    if resource is None:
        return psutil.Process().memory_info().peak_wset
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # kibibytes except on macOS


def private_memory() -> int:
    """Return the resident size without pages mapped from files, in bytes."""
    process = psutil.Process()
    memory = process.memory_info()
    return memory.rss - memory.shared if hasattr(memory, "shared") else process.memory_full_info().uss
