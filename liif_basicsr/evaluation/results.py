"""Results in one file: an interrupted run continues, and only what has changed is measured again."""
from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from liif_basicsr.evaluation.methods import Method
from liif_basicsr.evaluation.output import check_output
from liif_basicsr.evaluation.sets import Subject
from liif_basicsr.evaluation.validation import measure
from liif_basicsr.utils.errors import LIIFError
from liif_basicsr.utils.files import write
from liif_basicsr.utils.options import scale_text

METRICS = {"psnr": {"type": "calculate_psnr_liif"}, "ssim": {"type": "calculate_ssim"}}
Values = dict[str, float]


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

    def __contains__(self, pair: tuple[Method, Subject]) -> bool:
        return _key(*pair) in self.kept

    def __getitem__(self, pair: tuple[Method, Subject]) -> Values:
        row = self.kept[_key(*pair)]
        return {metric: row[metric] for metric in METRICS}

    def __setitem__(self, pair: tuple[Method, Subject], values: Values) -> None:
        method, subject = pair
        about = {"method": method.label, "set": subject.name, "scale": scale_text(subject.scale)}
        # Another process may have written in the meantime.
        self.kept = {**self._read(), **self.kept, _key(method, subject): {**about, "images": len(subject), **values}}
        write(self.path, json.dumps(self.kept, indent=1).encode())

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            kept = json.loads(self.path.read_text()) if self.path.exists() else {}
            if not all(isinstance(row[metric], (int, float)) for row in kept.values() for metric in METRICS):
                raise ValueError
        except OSError as error:
            raise LIIFError(f"{self.path}: cannot be read: {error.strerror}") from None
        except (ValueError, AttributeError, KeyError, TypeError):
            raise LIIFError(f"{self.path}: holds no results, or is corrupt; move it away or name another") from None
        return kept


def measure_all(methods: Sequence[Method], subjects: Iterable[Subject], results: Results) -> None:
    """Measure what the results lack, with a progress bar of images."""
    missing = [(method, subject) for subject in subjects for method in methods if (method, subject) not in results]
    total = sum(len(subject) for _, subject in missing)
    with tqdm(total=total, unit="image", disable=None if total else True) as bar:
        for method, subject in missing:
            bar.set_description(f"{method.label}, {subject.name} x{scale_text(subject.scale)}")
            rows = []
            for item in subject.pairs():
                lq, gt = item["lq"][None], item["gt"][None]
                rows.append(measure(method.render(lq, tuple(gt.shape[-2:])), gt, METRICS, subject.protocol))
                bar.update()
            means = (sum(column) / len(rows) for column in zip(*rows, strict=True))
            results[method, subject] = dict(zip(METRICS, means, strict=True))


def _key(method: Method, subject: Subject) -> str:
    return f"{method.key} {subject.key}"
