"""Invalid dataset options are reported in one line, before training."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datafiles import build, noise_image, paired_block, paired_train_block, refused, save, train_block, val_block


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for k in range(3):
        save(tmp_path / "photos" / f"{k}.png", noise_image(60, 60, seed=k))
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"lq_sise": 12}, ("lq_sise", "did you mean 'lq_size'")),
        ({"scales": [2]}, ("scales", "did you mean 'scale'")),
        ({"lq_size": "12"}, ("lq_size", "'12'")),
        ({"lq_size": 0}, ("lq_size",)),
        ({"lq_size": [12]}, ("lq_size", "a pair [height, width] of such integers", "[12]")),
        ({"lq_size": [12, 1.5]}, ("lq_size", "[12, 1.5]")),
        ({"lq_size": [True, 12]}, ("lq_size", "[True, 12]")),
        ({"lq_size": [12, 90]}, ("smaller than", "lq_size")),
        ({"scale_range": [4, 1]}, ("scale_range", "[4, 1]")),
        ({"scale_range": [0.5, 2]}, ("scale_range",)),
        ({"scale_range": 4}, ("scale_range", "pair")),
        ({"sample_q": 145}, ("sample_q", "145", "144")),
        ({"use_hflip": "yes"}, ("use_hflip", "true or false")),
        ({"io_backend": {"type": "lmbd"}}, ("io_backend", "lmbd", "lmdb")),
        ({"io_backend": {"typ": "disk"}}, ("io_backend", "did you mean 'type'")),
        ({"on_corrupt": "ignore"}, ("on_corrupt", "raise, skip")),
        ({"batch_size_per_gpu": "4"}, ("batch_size_per_gpu",)),
        ({"prefetch_mode": "gpu"}, ("prefetch_mode", "cpu, cuda")),
        ({"phase": "training"}, ("phase",)),
    ],
)
def test_invalid_training_options(photos: Path, changes: dict[str, Any], parts: tuple[str, ...]) -> None:
    refused(lambda: build(train_block(photos, **changes)), "datasets: Photos", *parts)


@pytest.mark.parametrize("key", ["lq_size", "scale_range", "sample_q", "dataroot_gt", "io_backend"])
def test_missing_options(photos: Path, key: str) -> None:
    block = train_block(photos)
    del block[key]
    refused(lambda: build(block), "datasets: Photos", key, "missing")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"scales": []}, ("scales",)),
        ({"scales": [2, 2]}, ("scales", "different")),
        ({"scales": [2, "3"]}, ("scales",)),
        ({"scales": [[1, 2, 3]]}, ("scales",)),
        ({"scales": [0.5]}, ("scales", "at least 1")),
        ({"scales": None}, ("scales", "missing")),
        ({"scales": None, "scale": 0.5}, ("scale", "at least 1")),
        ({"protocol": "div2K"}, ("protocol", "benchmark, div2k")),
        ({"scales": [70]}, ("0.png", "60x60", "70x70")),
    ],
)
def test_invalid_validation_options(photos: Path, changes: dict[str, Any], parts: tuple[str, ...]) -> None:
    refused(lambda: build(val_block(photos, **changes)), "datasets: Photos", *parts)


def test_invalid_pair_options(photos: Path) -> None:
    refused(lambda: build(paired_block(photos, photos, filename_tmpl="x2")), "filename_tmpl", "{}")
    refused(lambda: build(paired_train_block(photos, photos, scales=[1.5])), "scales", "whole")
