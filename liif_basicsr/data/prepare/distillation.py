"""Make distillation pairs: degraded crops of photographs, the teacher's outputs for them, and the original crops.

With the same settings, a pair depends only on its number, so an interrupted run can continue.
`data.distillation_pairs` describes the contents of the folder.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import lmdb
import numpy as np

from liif_basicsr.data.decode import to_uint8
from liif_basicsr.data.degradations import Degradation
from liif_basicsr.data.distillation_pairs import KINDS, RECORD, check_record, read_record
from liif_basicsr.data.encode import encode_png
from liif_basicsr.data.prepare.parallel import parallel_map
from liif_basicsr.data.prepare.storing import LmdbFile
from liif_basicsr.data.sampling import crop, random_corner
from liif_basicsr.data.source import ImageSource
from liif_basicsr.errors import LIIFError
from liif_basicsr.files import write
from liif_basicsr.hub.teacher import Teacher

PNG_LEVEL = 3
# Standard deviation, in input pixels, of the blur that separates color from detail.
COLOR_SIGMA = 6.0
# The meta files are updated each time this many pairs have been added.
STEP = 50


class Crop(NamedTuple):
    """The images of a pair before the teacher is applied, uint8 RGB.

    lq: the degraded input.
    gt: the original crop.
    needs_teacher: False if the target is the original crop.
    """

    lq: np.ndarray
    gt: np.ndarray
    needs_teacher: bool

    def encode(self, output: np.ndarray | None) -> list[bytes]:
        """Encode the pair as PNG files in the order of KINDS.

        Args:
            output: the teacher's output for `lq`, or None if the pair does not need the teacher.
        """
        target = self.gt if output is None else with_colors_of(self.lq, output)
        return [encode_png(image, PNG_LEVEL) for image in (self.lq, target, self.gt)]


@dataclass
class DistillationPairs:
    """Makes pairs from photographs; a pair is identified by its number.

    Attributes:
        photos: the photographs.
        teacher: the network to distill.
        degradation: turns an original crop into an input by downsampling and degrading it.
        lq_size: side of the inputs.
        seed: random seed. Different seeds make different pairs from the same photographs.
        plain: share of pairs that show a single color or a gradient, see `plain_image`. Their target is the original
            crop, not the teacher's output.
        probabilities: how likely each photograph is to be drawn: in proportion to its number of pixels, and 0 if it is
            smaller than a crop.

    Raises:
        LIIFError: all photographs are too small.
    """

    photos: ImageSource
    teacher: Teacher
    degradation: Degradation
    lq_size: int
    seed: int
    plain: float = 0.0
    probabilities: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        sizes = [self.photos.size(index) for index in range(len(self.photos))]
        pixels = np.array([h * w if min(h, w) >= self.gt_size else 0 for h, w in sizes])
        if not pixels.any():
            needed = f"at least {self.gt_size}x{self.gt_size} pixels, lq_size times the teacher's scale"
            raise LIIFError(f"{self.photos.root}: no photograph has {needed}; lower lq_size")
        self.probabilities = pixels / pixels.sum()

    @property
    def record(self) -> dict[str, Any]:
        """The settings that the pairs depend on, as plain data."""
        own = {"degradation": self.degradation.settings, "lq_size": self.lq_size, "seed": self.seed}
        targets = {"colours": "input", "clean": "original", "plain": self.plain}
        return {**self.teacher.record, "scale": self.teacher.scale, **own, **targets}

    @property
    def gt_size(self) -> int:
        """Side length of the teacher's outputs and of the original crops, in pixels."""
        return self.lq_size * self.teacher.scale

    def pair(self, number: int) -> list[bytes]:
        """Make pair `number` as PNG files in the order of KINDS."""
        crop = self.crop(number)
        return crop.encode(self.teacher(crop.lq[None])[0] if crop.needs_teacher else None)

    def crop(self, number: int) -> Crop:
        """Draw the crop of pair `number`.

        For a plain image or a clean input (only downsampled), the target is the original crop, because the teacher
        would alter it unnecessarily.
        """
        rng = np.random.default_rng((self.seed, number))
        plain = self.plain > 0 and rng.random() < self.plain
        gt = plain_image(self.gt_size, rng) if plain else self._photograph(rng)
        seed = int(rng.integers(2**62))
        lq = self.degradation(gt, (self.lq_size, self.lq_size), seed)
        return Crop(lq, gt, not (plain or self.degradation.is_clean(seed)))

    def _photograph(self, rng: np.random.Generator) -> np.ndarray:
        index = int(rng.choice(len(self.photos), p=self.probabilities))
        size = (self.gt_size, self.gt_size)
        corner = random_corner(self.photos.size(index), size, rng)
        return to_uint8(crop(self.photos.read(index), corner, size))


def make_pairs(pairs: DistillationPairs, target: Path, count: int, processes: int, batch: int | None = None) -> int:
    """Make pairs until a folder contains `count` of them. The pairs of an interrupted run are kept.

    Args:
        pairs: the pairs to make.
        target: the folder.
        count: total number of pairs in the folder.
        processes: number of worker processes.
        batch: number of crops that the teacher upscales at a time in this process. With None, each worker runs the
            teacher on its own crops.

    Returns:
        The number of new pairs.

    Raises:
        LIIFError: the folder contains pairs made with other settings, a photograph is corrupt, or the folder cannot be
            written.
    """
    try:
        _begin(target, pairs.record)
        with ExitStack() as stack:
            files = {kind: stack.enter_context(closing(LmdbFile(target / f"{kind}.lmdb"))) for kind in KINDS}
            done = files["lq"].env.stat()["entries"]
            try:
                new = _new_pairs(pairs, range(done, count), processes, batch)
                for number, pair in enumerate(new, start=done):
                    for kind in reversed(KINDS):  # write the input last: it marks the pair as complete
                        files[kind].write(_key(number), pair[KINDS.index(kind)])
                    if (number + 1) % STEP == 0:
                        _write_meta(target, pairs, number + 1)
            finally:
                total = files["lq"].env.stat()["entries"]
                _write_meta(target, pairs, total)
    except (OSError, lmdb.Error) as error:
        raise LIIFError(f"{target} cannot be written: {error}") from None
    return total - done


def with_colors_of(lq: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Remove the color drift of a teacher's output: replace its low frequencies by the input's low frequencies.

    Args:
        lq: the input, uint8 (h, w, 3).
        output: the output, uint8 (H, W, 3).

    Returns:
        The corrected output, uint8 (H, W, 3).
    """
    small = cv2.resize(output.astype(np.float32), lq.shape[1::-1], interpolation=cv2.INTER_AREA)
    drift = cv2.GaussianBlur(lq - small, (0, 0), COLOR_SIGMA, borderType=cv2.BORDER_REFLECT)
    corrected = output + cv2.resize(drift, output.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.rint(corrected).clip(0, 255).astype(np.uint8)


def plain_image(side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a plain image, uint8 (side, side, 3): with probability 1/3 a single color, otherwise a gradient.

    The gradient runs in a random direction from one random color to another. It may reach either color before the
    border.
    """
    first, last = rng.integers(0, 256, (2, 3))
    if rng.random() < 1 / 3:
        last = first
    angle, steepness = rng.uniform(0, 2 * np.pi), rng.uniform(1, 2)
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    distance = np.cos(angle) * x + np.sin(angle) * y
    share = np.clip(distance / np.ptp(distance) * steepness + 0.5, 0, 1)[..., None]
    return np.rint(first + (last - first) * share).astype(np.uint8)


def _new_pairs(
    pairs: DistillationPairs, numbers: range, processes: int, batch: int | None
) -> Iterator[list[bytes]]:
    """Yield the pairs with these numbers; see `make_pairs` for the arguments."""
    if not numbers:
        return
    work: Callable[[int], Any] = pairs.pair if batch is None else pairs.crop
    with closing(parallel_map(work, numbers, processes, "teaching")) as results:
        errors: list[LIIFError] = []
        made = _until_error(results, errors)
        yield from made if batch is None else _with_outputs(made, pairs.teacher, batch, processes)
        if errors:
            raise errors[0]


def _until_error(results: Iterator[Any], errors: list[LIIFError]) -> Iterator[Any]:
    """Yield results until the first error and append the error to `errors`, so that earlier results are not lost."""
    for result in results:
        if isinstance(result, LIIFError):
            errors.append(result)
            return
        yield result


def _with_outputs(crops: Iterator[Crop], teacher: Teacher, batch: int, threads: int) -> Iterator[list[bytes]]:
    """Yield the encoded pair of each crop. While the teacher upscales a batch, threads encode the previous one."""
    with ThreadPoolExecutor(threads) as pool:
        encoded: list[Future[list[bytes]]] = []
        while group := list(islice(crops, batch)):
            inputs = [crop.lq for crop in group if crop.needs_teacher]
            outputs = iter(teacher(np.stack(inputs)) if inputs else ())
            yield from (future.result() for future in encoded)
            encoded = [pool.submit(crop.encode, next(outputs) if crop.needs_teacher else None) for crop in group]
        yield from (future.result() for future in encoded)


def _begin(target: Path, record: dict[str, Any]) -> None:
    """Create the folder, or check that its existing pairs were made with the same settings."""
    if (target / RECORD).exists() or (target.is_dir() and any(target.iterdir())):
        check_record(read_record(target), record, str(target))
        return
    target.mkdir(parents=True, exist_ok=True)
    write(target / RECORD, json.dumps(record, indent=1).encode())


def _write_meta(target: Path, pairs: DistillationPairs, count: int) -> None:
    """Write the meta_info.txt of each LMDB. BasicSR and the datasets read the names from this file."""
    for kind in KINDS:
        side = pairs.lq_size if kind == "lq" else pairs.gt_size
        lines = [f"{_key(number)}.png ({side},{side},3) {PNG_LEVEL}\n" for number in range(count)]
        write(target / f"{kind}.lmdb" / "meta_info.txt", "".join(lines).encode())


def _key(number: int) -> str:
    return f"{number:07d}"
