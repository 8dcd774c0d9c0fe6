"""Constants that limit memory use, and the amount of available memory."""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil

from liif_basicsr.errors import LIIFError

# Encoding: edge of a tile in input pixels. RENDER_TILE is for an image that is rendered once; the features of 512x512
# pixels take about a gigabyte. CACHED_TILE is for an image that is kept open, as in the viewer; with smaller tiles,
# its first pixels appear sooner.
RENDER_TILE = 512
CACHED_TILE = 256
# Bytes of features that an open image caches.
CACHE_BYTES = 1 << 30
# An encoder with an unbounded receptive field encodes images of up to WHOLE_PIXELS pixels as a whole. Larger images are
# encoded in blended tiles with the edge BLENDED_TILE. Each tile extends BLEND_OVERLAP pixels into its neighbors.
WHOLE_PIXELS = 1 << 20
BLENDED_TILE = 512
BLEND_OVERLAP = 32

# Decoding: bytes of activations per block. On a CPU a block fits into the cache; a GPU needs larger blocks.
CPU_BLOCK_BYTES, GPU_BLOCK_BYTES = 6 << 20, 256 << 20
# Number of queries that `sample` decodes at a time.
SAMPLE_QUERIES = 1 << 11
# Number of features that a decoder's per-feature layers process at a time: in the body of ContinuousShuffleSR, and in
# the latent MLP of LM-LIIF.
BODY_FEATURES = 2048
LATENT_FEATURES = 4096
# Bytes of weights and activations of the per-feature MLPs that are evaluated at a time.
CPU_MLP_BYTES, GPU_MLP_BYTES = 4 << 20, 256 << 20
# Number of `PixelAxis` objects that an open image caches. Each takes a few dozen kilobytes.
CACHED_AXES = 256
# Number of contexts (`Decoder.context`) that an open image caches. A context of SRNO takes half a megabyte.
CACHED_CONTEXTS = 16

# Warping: edge of a block of output pixels, and number of queries per chunk.
WARP_BLOCK = 128
WARP_QUERIES = 1 << 17
# Number of output pixels per band when a warped image is written to a file. Each input tile is encoded once per band
# that depends on it.
WARP_BAND = 1 << 24

# Image files: rows of a strip (also the height of a TIFF's tiles), and number of columns that are rendered at a time.
STRIP_ROWS, STRIP_COLS = 256, 2048
# Maximum number of strips that wait to be written while the network computes further ones.
QUEUED_STRIPS = 2

# Number of decoded tiles that the viewer's server caches, 256 kB each.
VIEWER_TILES = 512

# Files with a container's memory limit, its usage and its statistics, and the name of the statistic that counts the
# page cache that can be reclaimed. The first entry is for cgroup v2, the second for v1. Without a limit, v2 reports
# "max" and v1 a huge number.
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)


class Tiling(NamedTuple):
    """How an image is divided for rendering.

    tile: edge of a tile in input pixels.
    block_bytes: bytes of activations of the output pixels that are decoded at a time. None uses the device's default.
    """

    tile: int = RENDER_TILE
    block_bytes: int | None = None


def check_memory(name: str, needed: int, instead: str) -> None:
    """Raise LIIFError if `needed` bytes exceed the available memory.

    Args:
        name: start of the message; names the output.
        instead: end of the message; an alternative to a smaller output.
    """
    free = available()
    if needed > free:
        amounts = f"{needed / 2**30:.1f} GiB needed, {free / 2**30:.1f} GiB free"
        raise LIIFError(f"{name}: the output does not fit into memory ({amounts}); choose a smaller one, or {instead}")


def available() -> int:
    """Return the bytes that this process can still allocate, on the machine or within its container."""
    return min([psutil.virtual_memory().available, *filter(None, (_left_in_container(*files) for files in CGROUPS))])


def _left_in_container(limit: str, used: str, statistics: str, cache: str) -> int | None:
    """Return the bytes that are left in the container, or None if it has no limit. The arguments are as in CGROUPS."""
    try:
        texts = [Path(file).read_text(encoding="utf-8") for file in (limit, used, statistics)]
        lines = (line.split() for line in texts[2].splitlines())
        reclaimable = next((int(value) for name, value in lines if name == cache), 0)
        return max(1, int(texts[0]) - int(texts[1]) + reclaimable)
    except (OSError, ValueError):
        return None
