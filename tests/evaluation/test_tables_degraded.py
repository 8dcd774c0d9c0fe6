"""Tables on degraded images, with NIQE and the PSNR to a reference. Images are degraded as in validation."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_niqe
from basicsr.utils import tensor2img
from experiment import make_images, val_set
from test_tables import Run, data, run, table_of

from liif_basicsr.data.arbitrary_scale_image_dataset import ArbitraryScaleImageDataset
from liif_basicsr.evaluation import methods
from liif_basicsr.evaluation.sets import open_sets
from liif_basicsr.metrics.psnr_liif import calculate_psnr_liif

pytestmark = pytest.mark.cpu  # tables.py chooses its device itself

__all__ = ["data", "run", "table_of"]


def test_images_are_degraded_as_in_validation(data: Path, table_of) -> None:
    """A dataset with the same option has the same low-resolution images. Results on clean images are separate."""
    args = ["bicubic", "--sets", "photos", "--scales", 2]
    eval_set = open_sets("photos", data, [(2, 2)], degradation="jpeg:20", protocol="div2k")[0]
    block = {**val_set("photos", data / "photos", [2], protocol="div2k"), "phase": "val", "degradation": "jpeg:20"}
    for ours, theirs in zip(map(eval_set.pair, range(len(eval_set))), ArbitraryScaleImageDataset(block), strict=True):
        assert torch.equal(ours["lq"], theirs["lq"])
    degraded = table_of(*args, "--degradation", "jpeg:20", "--protocol", "div2k")
    clean = table_of(*args, "--protocol", "div2k")
    ((key, row),) = degraded.items()
    assert float(row["psnr"]) < float(clean[key]["psnr"]) - 0.5


def test_niqe_equals_basicsrs_and_psnr_to_a_reference(tmp_path: Path, table_of) -> None:
    make_images(tmp_path / "large", 2, (200, 220))
    rows = table_of("bicubic", "lanczos", "--sets", f"large={tmp_path}/large", "--scales", 2, "--metrics", "niqe",
                    "--reference", "bicubic")  # fmt: skip
    eval_set = open_sets(f"large={tmp_path}/large", tmp_path, [(2, 2)])[0]
    expected: dict[str, list[list[float]]] = {"bicubic": [], "lanczos": []}
    for item in map(eval_set.pair, range(len(eval_set))):
        lq, size = item["lq"][None], tuple(item["gt"].shape[-2:])
        outputs = {name: methods.open_method(name).render(lq, size) for name in expected}
        for name, output in outputs.items():
            pixels = tensor2img([output])
            psnr = calculate_psnr_liif(output, outputs["bicubic"], **eval_set.protocol)
            expected[name].append([calculate_niqe(pixels, eval_set.protocol["crop_border"]), psnr])
    for (_, name, _), row in rows.items():
        found = [float(row["niqe"]), float(row["psnr_to"])]
        assert found == pytest.approx(list(np.mean(expected[name], axis=0)), abs=1e-9)


def test_a_metric_requested_later_is_added(tmp_path: Path, table_of) -> None:
    make_images(tmp_path / "large", 1, (200, 220))
    args = ["bicubic", "--sets", f"large={tmp_path}/large", "--scales", 2]
    first = table_of(*args)
    both = table_of(*args, "--metrics", "psnr", "niqe")
    (row,) = json.loads((tmp_path / "results" / "tables.json").read_text()).values()
    assert {"psnr", "ssim", "niqe"} <= row.keys()
    assert [line["psnr"] for line in first.values()] == [line["psnr"] for line in both.values()]


def test_images_too_small_for_niqe(run: Run) -> None:
    line = run("bicubic", "--sets", "photos", "--scales", 2, "--metrics", "niqe", status=1)
    assert "p0.png: 48x52 is too small" in line and "NIQE needs 192 pixels along each side" in line
    assert line.count("\n") == 1
