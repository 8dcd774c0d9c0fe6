"""Why torch does not use a GPU that is there."""
from __future__ import annotations

import re
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
