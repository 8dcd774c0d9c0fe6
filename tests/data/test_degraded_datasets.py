"""Datasets with degradations: reproducible in training, fixed in validation."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datafiles import build, refused, save, smooth_image, train_block, val_block
from torch.utils.data import DataLoader

from liif_basicsr.data.decode import to_image_tensor
from liif_basicsr.data.degradations import Degradation, seed_of


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        save(tmp_path / "photos" / f"{name}.png", smooth_image(64, 60, ord(name)))
    return tmp_path / "photos"


def items(block: dict[str, Any], workers: int, seed: int = 0) -> list[dict[str, Any]]:
    """Load the items of an epoch."""
    loader = DataLoader(
        build(block), batch_size=None, num_workers=workers, generator=torch.Generator().manual_seed(seed)
    )
    torch.manual_seed(seed)
    return list(loader)


@pytest.mark.parametrize("kind", ["realesrgan", "photo"])
def test_training_degrades_the_crop(photos, kind):
    block = train_block(photos, degradation={"type": kind}, use_hflip=False, use_rot=False, scale_range=[2, 2])
    torch.manual_seed(0)
    degraded = build(block)[0]
    torch.manual_seed(0)
    clean = build({**block, "degradation": {"type": kind, "clean_prob": 1}})[0]
    torch.manual_seed(0)
    plain = build({key: value for key, value in block.items() if key != "degradation"})[0]
    assert torch.equal(clean["lq"], plain["lq"]) and not torch.equal(degraded["lq"], clean["lq"])
    assert degraded["lq"].shape == (3, 12, 12) and degraded["gt"].shape == (100, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_depends_on_torchs_seed(photos, workers):
    block = train_block(photos, degradation="realesrgan")
    first, again, other = (items(block, workers, seed) for seed in (3, 3, 4))
    assert all(torch.equal(a["lq"], b["lq"]) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a["lq"], b["lq"]) for a, b in zip(first, other, strict=True))


def test_validation_depends_on_file_names_alone(photos, tmp_path):
    block = val_block(photos, degradation={"type": "photo"})
    first, again = build(block), build(block)
    torch.manual_seed(1)
    np.random.seed(1)
    assert len(first) == 4
    for index in (3, 0, 1, 2):
        item = again[index]
        assert torch.equal(first[index]["lq"], item["lq"])
        name, k = ("a", "b")[index % 2], index // 2
        image = smooth_image(64, 60, ord(name))[: 64 // (k + 2) * (k + 2), : 60 // (k + 2) * (k + 2)]
        size = (64 // (k + 2), 60 // (k + 2))
        expected = Degradation("photo")(np.ascontiguousarray(image), size, seed_of(name))
        assert torch.equal(item["lq"], to_image_tensor(expected))


@pytest.mark.parametrize("make", [train_block, val_block])
def test_invalid_degradation(photos, make):
    refused(lambda: build(make(photos, degradation={"type": "foto"})), "datasets: Photos: degradation: ", "'photo'")
    refused(lambda: build(make(photos, degradation={"type": "jpeg", "jpeg_range": [90, 60]})), "jpeg_range", "order")
