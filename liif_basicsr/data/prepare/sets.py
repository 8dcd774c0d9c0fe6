"""Prepare the usual data sets in the layout that the options files expect."""
from __future__ import annotations

from collections.abc import Iterable
from os import path as osp
from pathlib import Path

import numpy as np
import skimage

from liif_basicsr.data.decode import decode, to_uint8
from liif_basicsr.data.download_hints import BENCHMARK, DIV2K, no_folder
from liif_basicsr.data.encode import encode_png
from liif_basicsr.data.prepare.imresize import imresize
from liif_basicsr.data.prepare.storing import Settings, atomic_folder, open_any, store
from liif_basicsr.data.source import ImageSource, open_source
from liif_basicsr.errors import LIIFError

SCALES = (2, 3, 4)

# Photographs that come with scikit-image, one of BasicSR's dependencies.
QUICKSTART_TRAIN = (
    *("astronaut.png", "brick.png", "camera.png", "grass.png", "gravel.png"),
    *("hubble_deep_field.jpg", "motorcycle_left.png", "motorcycle_right.png", "rocket.jpg"),
)
QUICKSTART_VAL = ("chelsea.png", "coffee.png")


def open_div2k(folder: Path) -> ImageSource:
    """Open DIV2K's training images."""
    if not folder.is_dir():
        raise LIIFError(no_folder(folder, DIV2K))
    return open_any(folder)


def benchmark(root: Path, target: Path) -> list[Path]:
    """For each benchmark set in `root`, make the folders GT_x2 and LR_bicubic_x2, and the same for x3 and x4.

    A set is a folder with HR/*.png and LR_bicubic/X2/*x2.png, as in EDSR's archive, or a folder that contains only
    images. In the latter case, the images are cropped to a multiple of the scale and downsampled by `imresize`, like
    the usual files.

    Returns:
        The new folders `target`/SET/GT_x2 and so on. Existing folders are kept.
    """
    folders = [path for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []
    sets = [path for path in folders if path.name[0] != "." and path.name != "__MACOSX"]
    if not sets:
        raise LIIFError(f"there are no benchmark sets in {root}; {BENCHMARK}")
    made = []
    for folder in sets:
        images = open_source(str(folder / "HR" if (folder / "HR").is_dir() else folder), "disk")
        for scale in SCALES:
            for which, kind in enumerate(("LR_bicubic", "GT")):
                goal = target / folder.name / f"{kind}_x{scale}"
                if not goal.exists():
                    made.append(goal)
                    pairs = (_pair(images, index, folder / "LR_bicubic", scale) for index in range(len(images)))
                    _write(goal, images, (pair[which] for pair in pairs))
    return made


def quickstart(target: Path) -> None:
    """Make `target`/train.lmdb from scikit-image's photographs, and `target`/val from two other photographs."""
    photographs = open_source(osp.join(osp.dirname(skimage.__file__), "data"), "disk")
    if not (target / "train.lmdb").exists():
        store(photographs.selected(QUICKSTART_TRAIN, "quickstart"), target / "train.lmdb", Settings(crop=240, step=240))
    if not (target / "val").exists():
        held_out = photographs.selected(QUICKSTART_VAL, "quickstart")
        _write(target / "val", held_out, (to_uint8(held_out.read(index)) for index in range(len(held_out))))


def _write(target: Path, images: ImageSource, pixels: Iterable[np.ndarray]) -> None:
    """Write a folder of PNG files, which are named after `images` and contain `pixels`."""
    stems: dict[str, str] = {}
    for name in images.names:
        same = stems.setdefault(osp.splitext(name)[0], name)
        if same != name:
            stem = osp.splitext(name)[0]
            raise LIIFError(f"{images.root}: {same} and {name} would both become {stem}.png; rename one")
    with atomic_folder(target) as folder:
        for stem, image in zip(stems, pixels, strict=True):
            (folder / f"{stem}.png").write_bytes(encode_png(image, 9))


def _pair(images: ImageSource, index: int, lr_folder: Path, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the low-resolution image, which is made if `lr_folder` does not exist, and the cropped ground truth."""
    image, stem = to_uint8(images.read(index)), osp.splitext(images.names[index])[0]
    if lr_folder.is_dir():
        low = _read(lr_folder / f"X{scale}" / f"{stem}x{scale}.png")
    else:
        height, width = (n - n % scale for n in image.shape[:2])
        low = imresize(image[:height, :width], scale)
    height, width = low.shape[0] * scale, low.shape[1] * scale
    if image.shape[0] < height or image.shape[1] < width:
        raise LIIFError(f"{images.path(index)} is smaller than {scale} times its low-resolution image in {lr_folder}; "
                        "replace one of them")  # fmt: skip
    return low, image[:height, :width]


def _read(path: Path) -> np.ndarray:
    try:
        return to_uint8(decode(path.read_bytes(), str(path)))
    except OSError as error:
        raise LIIFError(f"{path} cannot be read: {error.strerror}") from None
