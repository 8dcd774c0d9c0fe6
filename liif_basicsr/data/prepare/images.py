"""Stores images as sub-images in LMDB or as decoded pixels, and finds corrupt ones."""
from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from os import path as osp
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from liif_basicsr.data.prepare.parallel import Function, parallel_map
from liif_basicsr.data.prepare.stores import LmdbFile, PixelFile, atomic_folder
from liif_basicsr.data.source import ImageSource, open_source
from liif_basicsr.errors import LIIFError

Piece = tuple[tuple[int, int], bytes]  # (H, W) and the bytes to store


class Settings(NamedTuple):
    """How to store images: as PNG sub-images of `crop` pixels, one every `step`, in LMDB; or whole, as `pixels`."""

    crop: int = 480
    step: int = 240
    level: int = 1
    pixels: bool = False
    processes: int = 1


def open_any(path: Path) -> ImageSource:
    """Open a folder of images, an LMDB, or a folder of pixels, whichever it is."""
    files = {"data.mdb": "lmdb", "pixels.bin": "pixels"}
    return open_source(str(path), next((kind for name, kind in files.items() if (path / name).exists()), "disk"))


def store(source: ImageSource, target: Path, settings: Settings) -> int:
    """Store all images of a source as `target`, which appears only when it is complete.

    Returns:
        The number of images, or sub-images, stored.

    Raises:
        LIIFError: an image is corrupt, or the target cannot be written.
    """
    if settings.step > settings.crop:
        raise LIIFError(f"step {settings.step} is larger than crop {settings.crop}: pixels between would be lost")
    names, lines = keys(source.names), []
    results = closing(parallel_map(_work(settings), source, settings.processes, target.name))
    with atomic_folder(target) as folder:
        with closing(PixelFile(folder) if settings.pixels else LmdbFile(folder)) as file, results as all_pieces:
            for name, pieces in zip(names, all_pieces, strict=True):
                if isinstance(pieces, LIIFError):
                    raise LIIFError(f"{pieces}; --check lists all that are corrupt")
                for number, ((height, width), content) in enumerate(pieces, start=1):
                    key = name if settings.pixels else f"{name}_s{number:03d}"
                    file.write(key, content)
                    lines.append(f"{key}.png ({height},{width},3) {settings.level}\n")
        (folder / "meta_info.txt").write_text("".join(lines))
    return len(lines)


def corrupt(source: ImageSource, processes: int) -> list[str]:
    """A line for each image of a source that cannot be read."""
    return [str(error) for error in parallel_map(_check, source, processes, "checking") if error is not None]


def keys(names: Sequence[str]) -> list[str]:
    """Names without suffix as keys that BasicSR can read: ASCII, no dot, each unique."""
    taken: dict[str, None] = {}
    for name in names:
        stem = re.sub(r"[^0-9A-Za-z_-]", "_", osp.splitext(name)[0])[:200]
        same = (f"{stem}_{count}" for count in itertools.count(2))
        taken[next(key for key in itertools.chain([stem], same) if key not in taken)] = None
    return list(taken)


def starts(n: int, crop: int, step: int) -> list[int]:
    """Where crops start along an axis of `n` pixels so that together they cover it."""
    inside = list(range(0, max(n - crop, 0) + 1, step))
    return inside if inside[-1] + crop >= n else [*inside, n - crop]


def cut(source: ImageSource, index: int, crop: int, step: int, level: int) -> list[Piece]:
    """The sub-images of an image, row by row, as PNG; along an axis shorter than `crop` it stays whole."""
    image = source.read(index)
    windows = [
        image[top : top + crop, left : left + crop]
        for top in starts(image.shape[0], crop, step)
        for left in starts(image.shape[1], crop, step)
    ]
    return [((window.shape[0], window.shape[1]), encode_png(window, level)) for window in windows]


def encode_png(image: np.ndarray, level: int) -> bytes:
    """A PNG of uint8 (H, W, 3) RGB."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, level]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.12 and newer: this filter is read twice as fast, and no larger
        options += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def _work(settings: Settings) -> Function:
    if settings.pixels:
        return _pixels
    return partial(cut, crop=settings.crop, step=settings.step, level=settings.level)


def _pixels(source: ImageSource, index: int) -> list[Piece]:
    image = source.read(index)
    return [(image.shape[:2], image.tobytes())]


def _check(source: ImageSource, index: int) -> None:
    source.read(index)
