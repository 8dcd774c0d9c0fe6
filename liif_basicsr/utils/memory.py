"""Is there memory for it?"""
from __future__ import annotations

import os

from liif_basicsr.utils.errors import LIIFError


def check_memory(name: str, needed: int, instead: str) -> None:
    """Raise LIIFError if `needed` bytes are more than the machine can give; `instead` says what else can be done."""
    free = available()
    if needed > free:
        gigabytes = f"{needed / 2**30:.1f} GiB needed, {free / 2**30:.1f} free"
        raise LIIFError(f"{name}: the output does not fit memory ({gigabytes}); ask for a smaller one, or {instead}")


def available() -> int:
    """Bytes of memory that a process can still get; all there is where the system does not tell."""
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        pass
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 1 << 62
