"""Test sets and their folder layouts."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from liif_basicsr.config.scales import scale_text
from liif_basicsr.data.arbitrary_scale_image_dataset import ArbitraryScaleImageDataset
from liif_basicsr.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from liif_basicsr.data.degradations import Degradation
from liif_basicsr.data.download_hints import download_hint
from liif_basicsr.data.sampling import floor_size, scaled_size
from liif_basicsr.data.source import DiskSource
from liif_basicsr.errors import LIIFError, suggest
from liif_basicsr.evaluation.validation import protocol_options

Scale = tuple[float, float]
SUPPLIED = (2, 3, 4)  # scales at which sets may supply low-resolution images
PROTOCOLS = ("benchmark", "div2k")
SSIM_WINDOW = 11
NIQE_SIDE = 2 * 96  # NIQE needs at least two blocks of 96x96 pixels; this side allows four


class Layout(NamedTuple):
    """Subfolders and protocol of a set.

    Attributes:
        gt_of_supplied: folder of the ground truth for the supplied low-resolution images.
        lq: folder of the supplied low-resolution images, or None.
        filename_tmpl: template for the names of the supplied low-resolution images, as in BasicSR.
        gt: folder of the ground truth at scales without supplied low-resolution images.
        protocol: the set's protocol, one of PROTOCOLS.
    """

    gt_of_supplied: str
    lq: str | None
    filename_tmpl: str
    gt: str
    protocol: str


# Subfolder that identifies a layout -> layout. The last entry is a plain folder of images.
LAYOUTS = {
    "GT_x2": Layout("GT_x{scale}", "LR_bicubic_x{scale}", "{}", "GT_x2", "benchmark"),
    "DIV2K_valid_HR": Layout("DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X{scale}", "{}x{scale}", "DIV2K_valid_HR",
                             "div2k"),
    "": Layout("", None, "{}", "", "benchmark"),
}  # fmt: skip


class PixelKind(NamedTuple):
    """Channels, pixel type and value range of a set's images.

    Attributes:
        channels: number of channels.
        dtype: pixel type of the files.
        value_range: the pixel values that become 0 and 1; None selects the whole range of uint8 or uint16.
    """

    channels: int = 3
    dtype: np.dtype = np.dtype(np.uint8)
    value_range: tuple[float, float] | None = None


class EvalSet(NamedTuple):
    """A set at one scale: `dataset.scales[k]`."""

    name: str
    dataset: Any
    k: int

    @property
    def scale(self) -> Scale:
        """Scale along y and x."""
        return self.dataset.scales[self.k]

    @property
    def protocol(self) -> dict[str, Any]:
        """Border and color space of the protocol, as options of a metric."""
        return protocol_options(self.dataset.protocol, self.scale)

    @property
    def degradation(self) -> Degradation | None:
        """Degradation of the low-resolution images, or None."""
        return getattr(self.dataset, "degradation", None)

    @property
    def kind(self) -> PixelKind:
        """Channels, pixel type and value range of the images. The pixel type is the first image's."""
        settings = self.dataset.settings
        return PixelKind(settings["channels"], self.dataset.dtype(self.k, 0), settings["value_range"])

    @property
    def key(self) -> str:
        """Key of the set in the results file: a hash of images and degradation, followed by protocol and scale."""
        sources = dict.fromkeys([self.dataset.gt[self.k], self.dataset.lq[self.k]])  # once if they are the same
        made = json.dumps(self.degradation.settings, sort_keys=True) if self.degradation else ""
        channels, value_range = self.dataset.settings["channels"], self.dataset.settings["value_range"]
        made += f"{channels} {value_range}" if channels != 3 or value_range else ""
        digest = hashlib.sha256("".join([*map(_digest, sources), made]).encode()).hexdigest()[:16]
        return f"{digest}-{self.dataset.protocol}-x{scale_text(self.scale)}"

    def __len__(self) -> int:
        return self.dataset.num_images

    def pair(self, index: int) -> dict[str, Any]:
        """Return the dataset's item for an image at this scale."""
        return self.dataset[self.k * len(self) + index]


def open_sets(
    text: str,
    root: str | Path,
    scales: Sequence[Scale],
    *,
    degradation: str | None = None,
    protocol: str | None = None,
    channels: int = 3,
    value_range: Sequence[float] | None = None,
) -> list[EvalSet]:
    """Open a set at several scales.

    Low-resolution images are read if the set supplies them: at x2, x3 and x4 for DIV2K and the benchmark sets.
    Otherwise the ground truth is cropped to a multiple of the scale and downsampled.

    Args:
        text: name of a folder in `root`, or NAME=FOLDER.
        degradation: make the low-resolution images with this degradation; see `liif_basicsr.data.degradations`.
        protocol: name in PROTOCOLS; None selects the set's own.
        channels, value_range: see PixelKind.

    Returns:
        One entry per scale, in the order of `scales`.

    Raises:
        LIIFError: the set or degradation is unknown, or an image is missing, corrupt or too small for a scale.
    """
    name, folder = _find(text, Path(root))
    layout = next(layout for member, layout in LAYOUTS.items() if (folder / member).is_dir())
    supplied = [s for s in scales if layout.lq and not degradation and s[0] == s[1] and s[0] in SUPPLIED]
    other = [s for s in scales if s not in supplied]
    block = {"name": name, "phase": "test", "io_backend": {"type": "disk"}, "protocol": protocol or layout.protocol,
             "channels": channels, "value_range": value_range}  # fmt: skip
    eval_sets: dict[Scale, EvalSet] = {}
    if supplied:
        roots = {"dataroot_gt": str(folder / layout.gt_of_supplied), "dataroot_lq": str(folder / str(layout.lq))}
        opt = {**block, **roots, "filename_tmpl": layout.filename_tmpl, "scales": supplied}
        dataset: Any = ArbitraryScalePairedDataset({**opt, "type": "ArbitraryScalePairedDataset"})
        eval_sets |= {scale: EvalSet(name, dataset, k) for k, scale in enumerate(supplied)}
    if other:
        given = {"dataroot_gt": str(folder / layout.gt), "scales": other, "degradation": degradation}
        dataset = ArbitraryScaleImageDataset({**block, **given, "type": "ArbitraryScaleImageDataset"})
        eval_sets |= {scale: EvalSet(name, dataset, k) for k, scale in enumerate(other)}
    ordered = [eval_sets[scale] for scale in scales]
    for eval_set in ordered:
        check_sizes(eval_set, SSIM_WINDOW, "SSIM")
    return ordered


def check_sizes(eval_set: EvalSet, smallest: int, metric: str) -> None:
    """Raise LIIFError if an image is too small for a metric after the protocol's border has been cropped.

    Args:
        eval_set: the set.
        smallest: smallest height and width that the metric accepts.
        metric: name of the metric in the message.
    """
    gt, border = eval_set.dataset.gt[eval_set.k], eval_set.protocol["crop_border"]
    for index in range(len(eval_set)):
        size = gt.size(index)
        kept = scaled_size(floor_size(size, eval_set.scale), eval_set.scale)
        if min(kept) - 2 * border < smallest:
            raise LIIFError(
                f"{eval_set.name}: {gt.path(index)}: {size[0]}x{size[1]} is too small for "
                f"x{scale_text(eval_set.scale)}: {metric} needs {smallest} pixels along each side, but "
                f"{kept[0]}x{kept[1]} minus a border of {border} leaves fewer; remove the scale or the image"
            )


def common_kind(eval_sets: Sequence[EvalSet]) -> PixelKind:
    """Return the channels, pixel type and value range of all images.

    Raises:
        LIIFError: two images have different pixel types.
    """
    kind = eval_sets[0].kind
    for eval_set in eval_sets:
        for index in range(len(eval_set)):
            dtype = eval_set.dataset.dtype(eval_set.k, index)
            if dtype != kind.dtype:
                path = eval_set.dataset.gt[eval_set.k].path(index)
                raise LIIFError(f"--sets: {path} has {dtype} pixels, but other images have {kind.dtype}; measure them "
                                "in separate runs")  # fmt: skip
    return kind


def _find(text: str, root: Path) -> tuple[str, Path]:
    """Return a set's name and folder."""
    name, equals, path = text.partition("=")
    folder = Path(path) if equals else root / name
    if not name or not folder.is_dir():
        known = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        raise LIIFError(f"set {text!r}: {folder} is not a folder{suggest(name, known)}; {download_hint(str(folder))}")
    return name, folder


@cache
def _digest(source: DiskSource) -> str:
    """Return a hash of the names and bytes of a folder's images."""
    digest = hashlib.sha256()
    for index, name in enumerate(source.names):
        digest.update(name.encode())
        digest.update(hashlib.sha256(source.content(index)).digest())
    return digest.hexdigest()
