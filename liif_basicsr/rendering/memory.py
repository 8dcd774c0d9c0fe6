"""Memory: every constant that bounds its use, and how much is available."""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from liif_basicsr.errors import LIIFError

# Encoding. An image that is rendered once is encoded in tiles of RENDER_TILE input pixels: the features of 512x512
# pixels take about a gigabyte. One that is kept open, as in the viewer, uses smaller tiles for a quick first look.
RENDER_TILE = 512
CACHED_TILE = 256
# Bytes of features that an open image keeps.
CACHE_BYTES = 1 << 30
# An encoder with an unbounded receptive field encodes up to this many pixels as a whole, and larger images in blended
# tiles.
WHOLE_PIXELS = 1 << 20
BLENDED_TILE = 512
BLEND_OVERLAP = 32

# Decoding. Bytes of activations per block: they fit a CPU's cache, and a GPU takes larger blocks.
CPU_BLOCK_BYTES, GPU_BLOCK_BYTES = 6 << 20, 256 << 20
# Queries that `sample` decodes at a time.
SAMPLE_QUERIES = 1 << 11
# Features that a decoder's per-feature layers process at a time: ContinuousShuffleSR's body, LM-LIIF's latent MLP.
BODY_FEATURES = 2048
LATENT_FEATURES = 4096
# Weights and activations of the per-feature MLPs that are evaluated at a time.
CPU_MLP_BYTES, GPU_MLP_BYTES = 4 << 20, 256 << 20
# Rows and columns whose derived values an open image keeps, a few dozen kilobytes each.
CACHED_AXES = 256
# Output sizes whose context (`Decoder.context`) an open image keeps; a context of SRNO takes half a megabyte.
CACHED_CONTEXTS = 16

# Warping. Edge of a block of output pixels, and queries per chunk.
WARP_BLOCK = 128
WARP_QUERIES = 1 << 17
# Output pixels of a band of an image file. Each tile of the input is encoded once per band.
WARP_BAND = 1 << 24

# Image files. Rows of a strip, which are also the rows of a tile in a TIFF, and columns that are rendered at a time.
STRIP_ROWS, STRIP_COLS = 256, 2048
# Strips that wait to be written while the network computes further ones.
QUEUED_STRIPS = 2

# Decoded tiles that the viewer keeps, 256 kB each.
VIEWER_TILES = 512

# The limit of a container, its use and statistics, and the name of the page cache it can reclaim: cgroup v2, then v1.
# Without a limit v2 says "max" and v1 a huge number.
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

    tile: input pixels along the edge of a tile.
    block_bytes: activations of the output pixels that are decoded at a time; None chooses by device.
    """

    tile: int = RENDER_TILE
    block_bytes: int | None = None

    def block_pixels(self, device: torch.device, bytes_per_pixel: int) -> int:
        """Return the number of output pixels to decode at a time."""
        default = CPU_BLOCK_BYTES if device.type == "cpu" else GPU_BLOCK_BYTES
        return max(1, (self.block_bytes or default) // bytes_per_pixel)


def check_memory(name: str, needed: int, instead: str) -> None:
    """Raise LIIFError if `needed` bytes exceed the available memory; `instead` names an alternative."""
    free = available()
    if needed > free:
        gigabytes = f"{needed / 2**30:.1f} GiB needed, {free / 2**30:.1f} free"
        raise LIIFError(f"{name}: the output does not fit memory ({gigabytes}); ask for a smaller one, or {instead}")


def available() -> int:
    """Return the bytes that this process can still allocate, on the machine or within its container."""
    return min([psutil.virtual_memory().available, *filter(None, (_left_in_container(*files) for files in CGROUPS))])


def _left_in_container(limit: str, used: str, statistics: str, cache: str) -> int | None:
    """Return the bytes left in the container, or None without a limit."""
    try:
        texts = [Path(file).read_text(encoding="utf-8") for file in (limit, used, statistics)]
        lines = (line.split() for line in texts[2].splitlines())
        reclaimable = next((int(value) for name, value in lines if name == cache), 0)
        return max(1, int(texts[0]) - int(texts[1]) + reclaimable)
    except (OSError, ValueError):
        return None
