"""Datasets of gray images, `channels: 1`."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from datafiles import build, noise_image, paired_block, paired_train_block, refused, save, train_block, val_block
from PIL import Image

from liif_basicsr.data.decode import decode, size_of
from liif_basicsr.data.source import open_source


def gray_image(height: int, width: int) -> np.ndarray:
    return noise_image(height, width)[..., 0]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return save(tmp_path / "photos" / "a.png", gray_image(60, 70)).parent


def gray_lmdb(path: Path, image: np.ndarray) -> Path:
    from basicsr.utils.lmdb_util import LmdbMaker

    maker = LmdbMaker(str(path))
    maker.put(cv2.imencode(".png", image)[1].tobytes(), "a", (*image.shape[:2], 1))
    maker.close()
    return path


@pytest.mark.parametrize("kind", ["disk", "lmdb"])
@pytest.mark.parametrize("sample", ["pixels", "patch"])
def test_training_sample_equals_one_channel_of_an_rgb_sample(tmp_path: Path, photos: Path, kind, sample) -> None:
    root = photos if kind == "disk" else gray_lmdb(tmp_path / "gray.lmdb", gray_image(60, 70))
    items = []
    for channels in (1, 3):
        torch.manual_seed(0)
        items.append(build(train_block(root, channels=channels, sample=sample))[0])
    gray, rgb = items
    assert gray["lq"].shape == (1, 12, 12) and gray["gt"].shape == (100, 1)
    assert torch.equal(gray["lq"].expand(3, -1, -1), rgb["lq"]) and torch.equal(gray["gt"].expand(-1, 3), rgb["gt"])


def test_validation_item(photos: Path) -> None:
    gray, rgb = (build(val_block(photos, channels=channels))[0] for channels in (1, 3))
    assert gray["lq"].shape == (1, 30, 35) and torch.equal(gray["lq"][0], rgb["lq"][0])
    assert gray["gt"].shape == (1, 60, 70) and torch.equal(gray["gt"][0], rgb["gt"][0])


def test_pairs(tmp_path: Path) -> None:
    for scale in (2, 3):
        save(tmp_path / f"gt{scale}" / "a.png", gray_image(20 * scale, 30 * scale))
    save(tmp_path / "lq" / "a.png", gray_image(20, 30))
    roots = tmp_path / "gt{scale}", tmp_path / "lq"
    for changes in ({}, {"scales": [3], "scale_range": [1, 3]}):
        item = build(paired_train_block(*roots, channels=1, **changes))[0]
        assert item["lq"].shape == (1, 12, 12) and item["gt"].shape == (100, 1)
    save(tmp_path / "lq" / "a.png", noise_image(20, 30))
    refused(lambda: build(paired_block(*roots, channels=1)), str(tmp_path / "lq" / "a.png"), "is RGB")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_color_files_are_refused_by_name(tmp_path: Path, suffix: str, mode: str) -> None:
    image = Image.fromarray(noise_image(60, 60))
    path = tmp_path / f"a{suffix}"
    image.convert("RGB" if suffix in (".jpg", ".webp") else mode).save(path)
    refused(lambda: build(train_block(tmp_path, channels=1)), str(path), "but channels is 1", "convert it to gray")
    refused(lambda: decode(path.read_bytes(), str(path), channels=1), str(path), "but channels is 1")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_kind_of_gray_is_read(tmp_path: Path, mode: str, suffix: str) -> None:
    pixels = gray_image(8, 9)
    image = Image.fromarray(pixels.astype(np.uint16) * 256 + 7) if mode == "I;16" else Image.fromarray(pixels)
    path = tmp_path / f"a{suffix}"
    (image if mode == "I;16" else image.convert(mode)).save(path)
    decoded = decode(path.read_bytes(), str(path), channels=1)
    assert size_of(path, channels=1) == (8, 9)
    assert np.array_equal(decoded, decode(path.read_bytes(), str(path))[..., :1])
    if mode != "1":
        assert np.array_equal(decoded[..., 0], pixels)


def test_gray_jpeg(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", gray_image(8, 9))
    assert np.array_equal(open_source(str(tmp_path), "disk", channels=1).read(0)[..., 0], np.asarray(Image.open(path)))


def test_color_in_an_lmdb_is_refused_when_it_is_read(tmp_path: Path) -> None:
    dataset = build(train_block(gray_lmdb(tmp_path / "rgb.lmdb", noise_image(60, 60)), channels=1))
    refused(lambda: dataset[0], "rgb.lmdb/a is RGB", "channels is 1")


@pytest.mark.parametrize("changes, parts", [
    ({"channels": 2}, ("channels", "1, 3", "got 2")),
    ({"degradation": "jpeg:50"}, ("degradation: needs channels: 3",)),
    ({"io_backend": {"type": "pixels"}}, ("holds RGB, but channels is 1",)),
])  # fmt: skip
def test_invalid_options(photos: Path, changes: dict, parts: tuple[str, ...]) -> None:
    refused(lambda: build(train_block(photos, **{"channels": 1, **changes})), "datasets: Photos", *parts)
