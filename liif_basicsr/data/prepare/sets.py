"""The usual data sets, laid out as the options files expect them."""
from __future__ import annotations

from collections.abc import Callable
from os import path as osp
from pathlib import Path

import numpy as np
import skimage

from liif_basicsr.data.decode import decode
from liif_basicsr.data.known import GET_BENCHMARK, GET_DIV2K
from liif_basicsr.data.prepare.bicubic import reduce
from liif_basicsr.data.prepare.images import Settings, encode_png, open_any, store
from liif_basicsr.data.prepare.stores import atomic_folder
from liif_basicsr.data.source import ImageSource, open_source
from liif_basicsr.errors import LIIFError

SCALES = (2, 3, 4)

# Photographs that scikit-image ships, which BasicSR depends on.
QUICKSTART_TRAIN = (
    *("astronaut.png", "brick.png", "camera.png", "grass.png", "gravel.png"),
    *("hubble_deep_field.jpg", "motorcycle_left.png", "motorcycle_right.png", "rocket.jpg"),
)
QUICKSTART_VAL = ("chelsea.png", "coffee.png")


def open_div2k(folder: Path) -> ImageSource:
    """The images of DIV2K's training set."""
    if not folder.is_dir():
        raise LIIFError(f"{folder} does not exist; {GET_DIV2K}")
    return open_any(folder)


def benchmark(root: Path, target: Path) -> list[Path]:
    """Lay out each benchmark set in `root` as `target`/SET/GT_x2, LR_bicubic_x2, and likewise for x3 and x4.

    A set is a folder with HR/*.png and LR_bicubic/X2/*x2.png, as in EDSR's archive, or one of images only: these are
    cropped to a multiple of the scale and downsampled as the usual files were.

    Returns:
        The folders that were made; existing ones stay.
    """
    sets = [path for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []
    if not sets:
        raise LIIFError(f"there are no benchmark sets in {root}; {GET_BENCHMARK}")
    made = []
    for folder in sets:
        images = open_source(str(folder / "HR" if (folder / "HR").is_dir() else folder), "disk")
        for scale in SCALES:
            for which, kind in enumerate(("LR_bicubic", "GT")):
                goal = target / folder.name / f"{kind}_x{scale}"
                if not goal.exists():
                    made.append(goal)
                    _write_benchmark(goal, which, images, folder / "LR_bicubic", scale)
    return made


def quickstart(target: Path) -> None:
    """Make `target`/train.lmdb of scikit-image's photographs, and `target`/val of those kept for validation."""
    photographs = open_source(osp.join(osp.dirname(skimage.__file__), "data"), "disk")
    if not (target / "train.lmdb").exists():
        store(photographs.selected(QUICKSTART_TRAIN, "quickstart"), target / "train.lmdb", Settings(crop=240, step=240))
    if not (target / "val").exists():
        held_out = photographs.selected(QUICKSTART_VAL, "quickstart")
        _write(target / "val", held_out, held_out.read)


def _write(target: Path, images: ImageSource, pixels: Callable[[int], np.ndarray]) -> None:
    """Write a folder of PNG files named as `images`, with the output of `pixels(index)`."""
    with atomic_folder(target) as folder:
        for index, name in enumerate(images.names):
            (folder / f"{osp.splitext(name)[0]}.png").write_bytes(encode_png(pixels(index), 9))


def _write_benchmark(target: Path, which: int, images: ImageSource, given: Path, scale: int) -> None:
    """Write one folder of a set: low resolution (`which` = 0) or ground truth (1) at a scale."""
    _write(target, images, lambda index: _pair(images, index, given, scale)[which])


def _pair(images: ImageSource, index: int, given: Path, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Low resolution, read or made, and the ground truth cropped to a multiple of it."""
    image, stem = images.read(index), osp.splitext(images.names[index])[0]
    if given.is_dir():
        low = _read(given / f"X{scale}" / f"{stem}x{scale}.png")
    else:
        height, width = (n - n % scale for n in image.shape[:2])
        low = reduce(image[:height, :width], scale)
    height, width = low.shape[0] * scale, low.shape[1] * scale
    if image.shape[0] < height or image.shape[1] < width:
        raise LIIFError(f"{images.path(index)} is smaller than {scale} times its form in {given}")
    return low, image[:height, :width]


def _read(path: Path) -> np.ndarray:
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise LIIFError(f"{path} cannot be read: {error.strerror}") from None
