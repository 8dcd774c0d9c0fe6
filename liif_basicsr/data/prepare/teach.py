"""Pairs to learn from a teacher: degraded crops of photographs, what the teacher makes of them, and the originals.

Each pair follows from its number alone, so that a run which was stopped goes on where it ended; see `data.taught` for
what a folder of pairs holds.
"""
from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import lmdb
import numpy as np

from liif_basicsr.data.degradations import Degradation
from liif_basicsr.data.prepare.images import encode_png
from liif_basicsr.data.prepare.parallel import parallel_map
from liif_basicsr.data.prepare.plain import plain_image
from liif_basicsr.data.prepare.stores import LmdbFile
from liif_basicsr.data.sampling import random_corner
from liif_basicsr.data.source import ImageSource
from liif_basicsr.data.taught import KINDS, RECORD, check_record, read_record
from liif_basicsr.errors import LIIFError
from liif_basicsr.files import write

PNG_LEVEL = 3
# Standard deviation, in input pixels, of what counts as the colour of a place.
COLOUR_SIGMA = 6.0
# After so many pairs, the lists of what is there are brought up to date.
STEP = 50


class Teacher(Protocol):
    """A network to learn from; it must be picklable.

    scale: a whole number; record: what tells it from others, as plain data.
    """

    scale: int
    record: dict[str, Any]

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """uint8 (h, w, 3) to uint8 (h * scale, w * scale, 3), RGB."""


class Lessons(NamedTuple):
    """All pairs that can be made of photographs, by number.

    lq_size: side of the inputs; seed: another one makes other pairs of the same photographs;
    plain: the share of pairs of a colour or a gradient, see `plain_image`, which the teacher is not asked about.
    """

    photos: ImageSource
    teacher: Teacher
    degradation: Degradation
    lq_size: int
    seed: int
    plain: float = 0.0

    @property
    def record(self) -> dict[str, Any]:
        """What the pairs are made with."""
        own = {"degradation": self.degradation.settings, "lq_size": self.lq_size, "seed": self.seed}
        targets = {"colours": "input", "clean": "original", "plain": self.plain}
        return {**self.teacher.record, "scale": self.teacher.scale, **own, **targets}

    @property
    def gt_size(self) -> int:
        """Side of what the teacher makes, and of the originals."""
        return self.lq_size * self.teacher.scale

    def pixels(self) -> np.ndarray:
        """How many pixels each photograph has; 0 for one that is smaller than a crop.

        Raises:
            LIIFError: all of them are.
        """
        sizes = [self.photos.size(index) for index in range(len(self.photos))]
        counts = np.array([h * w if min(h, w) >= self.gt_size else 0 for h, w in sizes])
        if not counts.any():
            raise LIIFError(f"{self.photos.root}: no photograph is as large as {self.gt_size}x{self.gt_size}")
        return counts

    def pair(self, number: int, pixels: np.ndarray) -> list[bytes]:
        """Pair `number` as PNG files, in the order of KINDS; each pixel of the photographs is as likely as any.

        For a clean input the original is what is to be learned: the teacher would change what nothing ails.
        """
        rng = np.random.default_rng((self.seed, number))
        plain = self.plain > 0 and rng.random() < self.plain
        gt = plain_image(self.gt_size, rng) if plain else self._crop(rng, pixels)
        seed = int(rng.integers(2**62))
        lq = self.degradation(gt, (self.lq_size, self.lq_size), seed)
        target = gt if plain or self.degradation.is_clean(seed) else with_colours_of(lq, self.teacher(lq))
        return [encode_png(image, PNG_LEVEL) for image in (lq, target, gt)]

    def _crop(self, rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
        index = int(rng.choice(len(pixels), p=pixels / pixels.sum()))
        size = (self.gt_size, self.gt_size)
        return self.photos.crop(index, random_corner(self.photos.size(index), size, rng), size)


def teach(lessons: Lessons, target: Path, count: int, processes: int) -> int:
    """Make pairs until a folder holds `count` of them; what a run makes before it is stopped is kept.

    Returns:
        How many were made.

    Raises:
        LIIFError: the folder holds pairs that were made with something else, a photograph is broken, or the disk is
            full or not to be written to.
    """
    pixels = lessons.pixels()
    try:
        _begin(target, lessons.record)
        with _open(target) as files:
            done = files["lq"].env.stat()["entries"]
            try:
                for number, pair in enumerate(_made(lessons, pixels, range(done, count), processes), start=done):
                    for kind in reversed(KINDS):  # the input last: where it is there, the pair is whole
                        files[kind].write(_key(number), pair[KINDS.index(kind)])
                    if (number + 1) % STEP == 0:
                        _list(target, lessons, number + 1)
            finally:
                total = files["lq"].env.stat()["entries"]
                _list(target, lessons, total)
    except (OSError, lmdb.Error) as error:
        raise LIIFError(f"{target} cannot be written: {error}") from None
    return total - done


def with_colours_of(lq: np.ndarray, output: np.ndarray) -> np.ndarray:
    """What a teacher made, uint8 (H, W, 3), with the colours of its input at large: Real-ESRGAN's drift."""
    small = cv2.resize(output.astype(np.float32), lq.shape[1::-1], interpolation=cv2.INTER_AREA)
    drift = cv2.GaussianBlur(lq - small, (0, 0), COLOUR_SIGMA, borderType=cv2.BORDER_REFLECT)
    mended = output + cv2.resize(drift, output.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.rint(mended).clip(0, 255).astype(np.uint8)


class _Numbers:
    """Pairs that are to be made: their numbers, and what they are made of."""

    def __init__(self, lessons: Lessons, pixels: np.ndarray, numbers: range) -> None:
        self.lessons, self.pixels, self.numbers = lessons, pixels, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def make(self, index: int) -> list[bytes]:
        return self.lessons.pair(self.numbers[index], self.pixels)


def _made(lessons: Lessons, pixels: np.ndarray, numbers: range, processes: int) -> Iterator[list[bytes]]:
    if not numbers:
        return
    with closing(parallel_map(_Numbers.make, _Numbers(lessons, pixels, numbers), processes, "teaching")) as pairs:
        for pair in pairs:
            if isinstance(pair, LIIFError):
                raise pair
            yield pair


def _begin(target: Path, record: dict[str, Any]) -> None:
    """Make the folder, or see that it is one of the same kind of pairs."""
    if (target / RECORD).exists() or (target.is_dir() and any(target.iterdir())):
        check_record(read_record(target), record, str(target))
        return
    target.mkdir(parents=True, exist_ok=True)
    write(target / RECORD, json.dumps(record, indent=1).encode())


@contextmanager
def _open(target: Path) -> Iterator[dict[str, LmdbFile]]:
    """The LMDBs of a folder, by kind."""
    with ExitStack() as stack:
        yield {kind: stack.enter_context(closing(LmdbFile(target / f"{kind}.lmdb"))) for kind in KINDS}


def _list(target: Path, lessons: Lessons, count: int) -> None:
    """Write the meta_info.txt of each LMDB, which BasicSR and the datasets go by."""
    for kind in KINDS:
        side = lessons.lq_size if kind == "lq" else lessons.gt_size
        lines = [f"{_key(number)}.png ({side},{side},3) {PNG_LEVEL}\n" for number in range(count)]
        write(target / f"{kind}.lmdb" / "meta_info.txt", "".join(lines).encode())


def _key(number: int) -> str:
    return f"{number:07d}"
