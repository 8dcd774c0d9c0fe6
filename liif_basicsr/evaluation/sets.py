"""Test sets at scales, by the paper's protocols: which files a set's folder supplies."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from liif_basicsr.config.options import scale_text, suggest
from liif_basicsr.data.arbitrary_scale_image_dataset import ArbitraryScaleImageDataset
from liif_basicsr.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from liif_basicsr.data.degradations import Degradation
from liif_basicsr.data.known import how_to_get
from liif_basicsr.data.sampling import floor_size, scaled_size
from liif_basicsr.data.source import DiskSource
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.validation import protocol_options

Scale = tuple[float, float]
SUPPLIED = (2, 3, 4)
PROTOCOLS = ("benchmark", "div2k")
SSIM_WINDOW = 11
NIQE_SIDE = 2 * 96  # two of its blocks, whose covariance it takes


class Layout(NamedTuple):
    """Where a set's images are within its folder; `lq` is None where low resolution is not supplied."""

    gt_of_supplied: str
    lq: str | None
    filename_tmpl: str
    gt: str
    protocol: str


# What a folder of that layout contains -> the layout; the last one is a plain folder of images.
LAYOUTS = {
    "GT_x2": Layout("GT_x{scale}", "LR_bicubic_x{scale}", "{}", "GT_x2", "benchmark"),
    "DIV2K_valid_HR": Layout("DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X{scale}", "{}x{scale}", "DIV2K_valid_HR",
                             "div2k"),
    "": Layout("", None, "{}", "", "benchmark"),
}  # fmt: skip


class Subject(NamedTuple):
    """A set at one scale: number `k` of the scales of a dataset."""

    name: str
    dataset: Any
    k: int

    @property
    def scale(self) -> Scale:
        """Along y and x."""
        return self.dataset.scales[self.k]

    @property
    def protocol(self) -> dict[str, Any]:
        """Border and colour, as options of a metric."""
        return protocol_options(self.dataset.protocol, self.scale)

    @property
    def degradation(self) -> Degradation | None:
        """What makes its low resolution; None where that is clean."""
        return getattr(self.dataset, "degradation", None)

    @property
    def key(self) -> str:
        """Identifies its results; derived from the images, the degradation, the scale and the protocol."""
        sources = [self.dataset.gt[self.k], *([self.dataset.lq[self.k]] if hasattr(self.dataset, "lq") else [])]
        made = json.dumps(self.degradation.settings, sort_keys=True) if self.degradation else ""
        digest = hashlib.sha256("".join([*map(_digest, sources), made]).encode()).hexdigest()[:16]
        return f"{digest}-{self.dataset.protocol}-x{scale_text(self.scale)}"

    def __len__(self) -> int:
        return self.dataset.num_images

    def pair(self, index: int) -> dict[str, Any]:
        """The item of the dataset that holds an image at this scale."""
        return self.dataset[self.k * len(self) + index]


def open_subjects(
    text: str, root: str | Path, scales: Sequence[Scale], *, degradation: str | None = None, protocol: str | None = None
) -> list[Subject]:
    """A set at each of `scales`, in that order.

    Low resolution is read where it is supplied (x2, x3, x4 of the benchmark sets and of DIV2K); at other scales, and
    for a plain folder of images, the ground truth is cropped to a multiple of the scale and downsampled.

    Args:
        text: the name of a folder in `root`, or NAME=FOLDER.
        degradation: makes all low resolution from the ground truth, see `liif_basicsr.data.degradations`.
        protocol: of PROTOCOLS; None: that of the set.

    Raises:
        LIIFError: no such set or degradation, images that are missing or corrupt, or too small for a scale.
    """
    name, folder = _find(text, Path(root))
    layout = next(layout for member, layout in LAYOUTS.items() if (folder / member).is_dir())
    supplied = [s for s in scales if layout.lq and not degradation and s[0] == s[1] and s[0] in SUPPLIED]
    other = [s for s in scales if s not in supplied]
    block = {"name": name, "phase": "test", "io_backend": {"type": "disk"}, "protocol": protocol or layout.protocol}
    subjects: dict[Scale, Subject] = {}
    if supplied:
        places = {"dataroot_gt": str(folder / layout.gt_of_supplied), "dataroot_lq": str(folder / str(layout.lq))}
        opt = {**block, **places, "filename_tmpl": layout.filename_tmpl, "scales": supplied}
        dataset: Any = ArbitraryScalePairedDataset({**opt, "type": "ArbitraryScalePairedDataset"})
        subjects |= {scale: Subject(name, dataset, k) for k, scale in enumerate(supplied)}
    if other:
        given = {"dataroot_gt": str(folder / layout.gt), "scales": other, "degradation": degradation}
        dataset = ArbitraryScaleImageDataset({**block, **given, "type": "ArbitraryScaleImageDataset"})
        subjects |= {scale: Subject(name, dataset, k) for k, scale in enumerate(other)}
    ordered = [subjects[scale] for scale in scales]
    for subject in ordered:
        check_sizes(subject, SSIM_WINDOW, "SSIM")
    return ordered


def check_sizes(subject: Subject, smallest: int, metric: str) -> None:
    """Raise LIIFError for the first image that is too small for a metric without the protocol's border."""
    gt, border = subject.dataset.gt[subject.k], subject.protocol["crop_border"]
    for index in range(len(subject)):
        size = gt.size(index)
        kept = scaled_size(floor_size(size, subject.scale), subject.scale)
        if min(kept) - 2 * border < smallest:
            raise LIIFError(
                f"{subject.name}: {gt.path(index)} is {size[0]}x{size[1]}, too small for x{scale_text(subject.scale)}: "
                f"{kept[0]}x{kept[1]} less a border of {border} is below the {smallest} of {metric}; leave "
                "out that scale or image"
            )


def _find(text: str, root: Path) -> tuple[str, Path]:
    """A set's name and folder."""
    name, equals, path = text.partition("=")
    folder = Path(path) if equals else root / name
    if not name or not folder.is_dir():
        known = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        raise LIIFError(f"set {text!r}: {folder} is not a folder{suggest(name, known)}; {how_to_get(str(folder))}")
    return name, folder


@cache
def _digest(source: DiskSource) -> str:
    """A hash of the names and bytes of a folder's images."""
    digest = hashlib.sha256()
    for index, name in enumerate(source.names):
        digest.update(name.encode())
        digest.update(hashlib.sha256(source.content(index)).digest())
    return digest.hexdigest()
