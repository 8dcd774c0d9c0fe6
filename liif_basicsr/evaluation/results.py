"""Results in one file: an interrupted run continues, and only what has changed is measured again."""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from liif_basicsr.config.options import scale_text
from liif_basicsr.data.decode import to_image_tensor, to_pixels
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.methods import Method
from liif_basicsr.evaluation.output import check_output
from liif_basicsr.evaluation.sets import Subject
from liif_basicsr.evaluation.validation import measure
from liif_basicsr.files import write
from liif_basicsr.launch.ranks import Ranks

METRICS = {
    "psnr": {"type": "calculate_psnr_liif"},
    "ssim": {"type": "calculate_ssim"},
    "niqe": {"type": "calculate_niqe"},  # needs no ground truth; lower is better
}
# What PSNR to another method's output is called in a table.
TO_REFERENCE = "psnr_to"
Values = dict[str, float]


class Reference:
    """Another method, whose outputs are compared with: rendered once for each image, and kept as 8-bit images."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.kept: dict[tuple[str, int], np.ndarray] = {}

    @property
    def metric(self) -> str:
        """What PSNR to it is called in the results."""
        return f"{TO_REFERENCE} {self.method.key}"

    def output(self, subject: Subject, index: int, lq: Tensor, size: tuple[int, int]) -> Tensor:
        """(1, 3, H, W) for image `index` of a subject."""
        key = subject.key, index
        if key not in self.kept:
            self.kept[key] = to_pixels(self.method.render(lq, size)[0])
        return to_image_tensor(self.kept[key])[None]


class Results:
    """Means over a set, by method and subject; each is saved as soon as it is measured.

    The key of a method is derived from its checkpoint, that of a subject from its images; where one of these changes,
    only its results are measured again.

    Args:
        path: a JSON file, made where it does not exist.

    Raises:
        LIIFError: it was not written by this class, or cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        check_output(path, [".json"])
        self.path = path
        self.kept = self._read()

    def __getitem__(self, pair: tuple[Method, Subject]) -> Values:
        """What was measured, by metric."""
        return {metric: value for metric, value in self.kept.get(_key(*pair), {}).items() if _is_metric(metric)}

    def __setitem__(self, pair: tuple[Method, Subject], values: Values) -> None:
        method, subject = pair
        about = {"method": method.label, "set": subject.name, "scale": scale_text(subject.scale)}
        # Another process may have written in the meantime.
        known = {**self._read(), **self.kept}
        row = {**known.get(_key(method, subject), {}), **about, "images": len(subject), **values}
        self.kept = {**known, _key(method, subject): row}
        write(self.path, json.dumps(self.kept, indent=1).encode())

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            kept = json.loads(self.path.read_text()) if self.path.exists() else {}
            rows = [{metric: value for metric, value in row.items() if _is_metric(metric)} for row in kept.values()]
            if not all(row and all(isinstance(value, (int, float)) for value in row.values()) for row in rows):
                raise ValueError
        except OSError as error:
            raise LIIFError(f"{self.path}: cannot be read: {error.strerror}") from None
        except (ValueError, AttributeError, KeyError, TypeError):
            raise LIIFError(f"{self.path}: holds no results, or is corrupt; move it away or name another") from None
        return kept


def measure_all(
    methods: Sequence[Method],
    subjects: Sequence[Subject],
    results: Results,
    ranks: Ranks,
    metrics: Sequence[str],
    reference: Reference | None = None,
) -> None:
    """Measure what the results lack, with a progress bar of images.

    Each image is measured once, in whichever process is free; the results are complete in process 0 alone.

    Args:
        metrics: of METRICS.
        reference: also measure PSNR to its outputs.
    """
    wanted = {*metrics, *([reference.metric] if reference else [])}
    pairs = [(method, subject) for subject in subjects for method in methods]
    missing = ranks.from_first(lambda: [sorted(wanted - results[pair].keys()) for pair in pairs])
    items = [
        (method, subject, index, set(lacking))
        for (method, subject), lacking in zip(pairs, missing, strict=True) if lacking
        for index in range(len(subject))
    ]  # fmt: skip
    with tqdm(total=len(items), unit="image", disable=None if items and ranks.rank == 0 else True) as bar:

        def work(number: int) -> Values:
            method, subject, index, lacking = items[number]
            bar.set_description(f"{method.label}, {subject.name} x{scale_text(subject.scale)}")
            return _measured(method, subject, index, lacking, reference)

        rows: list[Values] = []
        for (method, subject, index, _), values in zip(items, ranks.map(work, len(items)), strict=False):
            rows.append(values)
            bar.update()
            if index + 1 == len(subject):
                results[method, subject] = {name: sum(row[name] for row in rows) / len(rows) for name in values}
                rows = []


def _measured(
    method: Method, subject: Subject, index: int, names: set[str], reference: Reference | None
) -> Values:
    """The metrics of a method on one image."""
    item = subject.pair(index)
    lq, gt = item["lq"][None], item["gt"][None]
    size = gt.shape[-2], gt.shape[-1]
    output = method.render(lq, size)
    metrics = {name: option for name, option in METRICS.items() if name in names}
    values = dict(zip(metrics, measure(output, gt, metrics, subject.protocol), strict=True))
    if reference and reference.metric in names:
        target = reference.output(subject, index, lq, size)
        (values[reference.metric],) = measure(output, target, {"psnr": METRICS["psnr"]}, subject.protocol)
    return values


def _is_metric(name: str) -> bool:
    return name in METRICS or name.startswith(TO_REFERENCE)


def _key(method: Method, subject: Subject) -> str:
    return f"{method.key} {subject.key}"
