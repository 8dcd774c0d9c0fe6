"""How much memory is left."""
from __future__ import annotations

from pathlib import Path

import psutil

from liif_basicsr.errors import LIIFError

# Files of a container's limit, its use and its statistics, and what these call page cache that can be given back:
# cgroup v2, then v1. Where there is no limit v2 says "max", and v1 a huge number.
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)


def check_memory(name: str, needed: int, instead: str) -> None:
    """Raise LIIFError if `needed` bytes are more than are available; `instead` says what else can be done."""
    free = available()
    if needed > free:
        gigabytes = f"{needed / 2**30:.1f} GiB needed, {free / 2**30:.1f} free"
        raise LIIFError(f"{name}: the output does not fit memory ({gigabytes}); ask for a smaller one, or {instead}")


def available() -> int:
    """Bytes of memory that this process can still get: of the machine, or of its container where that has less."""
    return min([psutil.virtual_memory().available, *filter(None, (_left(*files) for files in CGROUPS))])


def _left(limit: str, used: str, statistics: str, cache: str) -> int | None:
    """Bytes that a container has left, None where it has no limit."""
    try:
        texts = [Path(file).read_text(encoding="utf-8") for file in (limit, used, statistics)]
        lines = (line.split() for line in texts[2].splitlines())
        reclaimable = next((int(value) for name, value in lines if name == cache), 0)
        return max(1, int(texts[0]) - int(texts[1]) + reclaimable)
    except (OSError, ValueError):
        return None
