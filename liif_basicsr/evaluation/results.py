"""Evaluate methods on sets, and save all results in one file, so that an interrupted run can continue."""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from liif_basicsr.config.scales import scale_text
from liif_basicsr.data.decode import to_image_tensor, to_pixels
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.methods import Method
from liif_basicsr.evaluation.sets import EvalSet
from liif_basicsr.evaluation.validation import measure
from liif_basicsr.files import check_output, write
from liif_basicsr.launch.ranks import Ranks

METRICS = {
    "psnr": {"type": "calculate_psnr_liif"},
    "psnr_mean": {"type": "calculate_psnr_liif", "band": "mean"},  # mean of the bands' PSNR
    "ssim": {"type": "calculate_ssim"},
    "niqe": {"type": "calculate_niqe"},  # needs no ground truth; lower is better
}
# Name, in tables, of the PSNR between a method's outputs and the reference's outputs.
TO_REFERENCE = "psnr_to"
Values = dict[str, float]


class Reference:
    """The reference method. The outputs of all other methods are compared with its outputs.

    Its outputs are rendered once and kept. For 8-bit sets, they are rounded to 8 bits.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self.kept: dict[tuple[str, int], np.ndarray] = {}

    @property
    def metric(self) -> str:
        """Name, in the results file, of the PSNR between another method's outputs and the reference's outputs."""
        return f"{TO_REFERENCE} {self.method.key}"

    def output(self, eval_set: EvalSet, index: int, lq: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the output (1, C, H, W) in [0, 1] for image `index` of a set."""
        key = eval_set.key, index
        if key not in self.kept:
            output = self.method.render(lq, size)[0].clamp(0, 1)
            eight_bits = eval_set.kind.dtype == np.uint8
            self.kept[key] = to_pixels(output) if eight_bits else output.permute(1, 2, 0).numpy()
        return to_image_tensor(self.kept[key])[None]


class Results:
    """Mean metric values over a set, by method and set. Each result is saved as soon as it is measured.

    Keys contain hashes of the checkpoint and of the set's images. If a checkpoint or an image changes, only the results
    that depend on it are measured again.

    Args:
        path: JSON file, created if missing.

    Raises:
        LIIFError: the file cannot be read or written, or is not a results file.
    """

    def __init__(self, path: Path) -> None:
        check_output(path, [".json"])
        self.path = path
        self.kept = self._read()

    def __getitem__(self, pair: tuple[Method, EvalSet]) -> Values:
        """Return the known values by metric; an empty dict if nothing has been measured."""
        return {metric: value for metric, value in self.kept.get(_key(*pair), {}).items() if _is_metric(metric)}

    def __setitem__(self, pair: tuple[Method, EvalSet], values: Values) -> None:
        method, eval_set = pair
        about = {"method": method.label, "set": eval_set.name, "scale": scale_text(eval_set.scale)}
        # Another process may have written in the meantime.
        known = {**self._read(), **self.kept}
        row = {**known.get(_key(method, eval_set), {}), **about, "images": len(eval_set), **values}
        self.kept = {**known, _key(method, eval_set): row}
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
            raise LIIFError(f"{self.path}: not a results file, or damaged; move it, or set --results") from None
        return kept


def measure_all(
    methods: Sequence[Method],
    eval_sets: Sequence[EvalSet],
    results: Results,
    ranks: Ranks,
    metrics: Sequence[str],
    reference: Reference | None = None,
) -> None:
    """Compute the results that are missing, with a progress bar over images.

    The processes of torchrun share the images. Only process 0 has the complete results.

    Args:
        metrics: names in METRICS.
        reference: also compute the PSNR between each method's outputs and the reference's outputs.
    """
    wanted = {*metrics, *([reference.metric] if reference else [])}
    pairs = [(method, eval_set) for eval_set in eval_sets for method in methods]
    missing = ranks.from_first(lambda: [sorted(wanted - results[pair].keys()) for pair in pairs])
    items = [
        (method, eval_set, index, set(lacking))
        for (method, eval_set), lacking in zip(pairs, missing, strict=True) if lacking
        for index in range(len(eval_set))
    ]  # fmt: skip
    with tqdm(total=len(items), unit="image", disable=None if items and ranks.rank == 0 else True) as bar:

        def work(number: int) -> Values:
            method, eval_set, index, lacking = items[number]
            bar.set_description(f"{method.label}, {eval_set.name} x{scale_text(eval_set.scale)}")
            return _measured(method, eval_set, index, lacking, reference)

        rows: list[Values] = []
        for (method, eval_set, index, _), values in zip(items, ranks.map(work, len(items)), strict=False):
            rows.append(values)
            bar.update()
            if index + 1 == len(eval_set):
                results[method, eval_set] = {name: sum(row[name] for row in rows) / len(rows) for name in values}
                rows = []


def _measured(
    method: Method, eval_set: EvalSet, index: int, names: set[str], reference: Reference | None
) -> Values:
    """Return the metrics `names` of a method on one image."""
    item = eval_set.pair(index)
    lq, gt = item["lq"][None], item["gt"][None]
    size = gt.shape[-2], gt.shape[-1]
    output = method.render(lq, size)
    metrics = {name: option for name, option in METRICS.items() if name in names}
    rounded = eval_set.kind.dtype == np.uint8
    values = dict(zip(metrics, measure(output, gt, metrics, eval_set.protocol, rounded), strict=True))
    if reference and reference.metric in names:
        target = reference.output(eval_set, index, lq, size)
        (values[reference.metric],) = measure(output, target, {"psnr": METRICS["psnr"]}, eval_set.protocol)
    return values


def _is_metric(name: str) -> bool:
    return name in METRICS or name.startswith(TO_REFERENCE)


def _key(method: Method, eval_set: EvalSet) -> str:
    return f"{method.key} {eval_set.key}"
