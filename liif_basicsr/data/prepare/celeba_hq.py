"""Prepare CelebA-HQ for the paper's task with ground truth of varying size; see SizeVariedPairedDataset."""
from __future__ import annotations

import json
from contextlib import closing
from functools import partial
from pathlib import Path

from liif_basicsr.data.decode import to_uint8
from liif_basicsr.data.download_hints import CELEBA_HQ, no_folder
from liif_basicsr.data.encode import encode_png
from liif_basicsr.data.prepare.parallel import parallel_map
from liif_basicsr.data.prepare.storing import atomic_folder, keys, open_any
from liif_basicsr.data.sampling import downsample
from liif_basicsr.data.source import ImageSource
from liif_basicsr.errors import LIIFError
from liif_basicsr.files import write

# Images of the first size are made from the originals, all others from images of the first size.
SIZES = (256, 128, 64, 32)
# The paper trains on 25 000 of the 30 000 images.
TRAINING = 5 / 6


def celeba_hq(folder: Path, target: Path, processes: int) -> list[Path]:
    """Make the folders 256, 128, 64 and 32 in `target` from square images, and `target`/split.json.

    split.json lists the images for training and those for validation. Existing folders and files are kept, such as the
    paper's own split.json. A new split.json uses the first 5/6 of the names for training.

    Args:
        folder: the original images.
        target: parent folder of the new folders.
        processes: number of worker processes.

    Returns:
        The new folders and files.

    Raises:
        LIIFError: there are no images, an image is corrupt, not square or too small, or `target` cannot be written.
    """
    if not folder.is_dir():
        raise LIIFError(no_folder(folder, CELEBA_HQ))
    made = []
    for size in SIZES:
        goal = target / str(size)
        if not goal.exists():
            _write(goal, open_any(folder if size == SIZES[0] else target / str(SIZES[0])), size, processes)
            made.append(goal)
    split = target / "split.json"
    if not split.exists():
        names = open_any(target / str(SIZES[0])).names
        count = round(len(names) * TRAINING)
        write(split, json.dumps({"train": names[:count], "val": names[count:]}).encode())
        made.append(split)
    return made


def resized(source: ImageSource, index: int, size: int) -> bytes:
    """Resize an image as the official code's `resize.py` does, and encode it as PNG."""
    image = to_uint8(source.read(index))
    if image.shape[0] != image.shape[1] or image.shape[0] < size:
        found = f"{source.path(index)} is {image.shape[0]}x{image.shape[1]}"
        raise LIIFError(f"{found}, not a square of at least {size}x{size}; remove it")
    return encode_png(downsample(image, (size, size)), 1)


def _write(goal: Path, source: ImageSource, size: int, processes: int) -> None:
    results = closing(parallel_map(partial(resized, source, size=size), range(len(source)), processes, goal.name))
    with atomic_folder(goal) as folder, results as contents:
        for name, content in zip(keys(source.names), contents, strict=True):
            if isinstance(content, LIIFError):
                raise content
            (folder / f"{name}.png").write_bytes(content)
