"""Datasets whose images have any number of channels and any depth."""
from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from datafiles import build, noise_image, paired_train_block, refused, save, train_block, val_block

from liif_basicsr.__main__ import main
from liif_basicsr.data import base
from liif_basicsr.data.sampling import downsample
from liif_basicsr.data.source import open_source
from liif_basicsr.rendering.cubic import cubic

RANGE = (-5.0, 20.0)


def write(path: Path, values: np.ndarray) -> Path:
    """Write values (H, W, C) in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    else:
        assert cv2.imwrite(str(path), values[..., ::-1])
    return path.parent


def bands(height: int, width: int, channels: int = 4, dtype: str = "float32") -> np.ndarray:
    """Return random values: floats within RANGE, or integers with margins for the overshoot of bicubic filters."""
    rng = np.random.default_rng(channels)
    if dtype == "float32":
        return rng.uniform(*RANGE, (height, width, channels)).astype(dtype)
    most = np.iinfo(dtype).max
    return rng.integers(most // 4, most - most // 4, (height, width, channels), dtype)


def bicubic(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Downsample an image (H, W, C) in float64 with the weights of Pillow's bicubic filter, without rounding."""
    for axis, n in enumerate(size):
        m = image.shape[axis]
        centers = (np.arange(n)[:, None] + 0.5) * m / n - np.arange(m) - 0.5
        weights = cubic(centers / (m / n))
        image = np.moveaxis(np.tensordot(weights / weights.sum(1, keepdims=True), image, (1, axis)), 0, axis)
    return image.clip(0, 1)


# Values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_floats_are_downsampled_with_the_kernel_of_8_bit_images(channels: int) -> None:
    image = bands(50, 63, channels, "uint8")
    size = (21, 26)
    exact = bicubic(image / 255, size)
    unrounded = downsample((image / 255).astype(np.float32), size)
    assert unrounded.dtype == np.float32 and np.abs(unrounded - exact).max() < 1e-6
    assert np.abs(downsample(image, size) - 255 * exact).max() < 1.01  # both passes, along y and x, round
    part = downsample(bands(48, 60, channels), (8, 12), (8, 12), (16, 24))
    assert np.abs(part - downsample(bands(48, 60, channels), (24, 30))[4:12, 6:18]).max() < 1e-6


@pytest.mark.parametrize(("dtype", "suffix"), [("uint16", ".png"), ("uint16", ".tif"), ("float32", ".tif"),
                                               ("float32", ".npy"), ("int16", ".npy"), ("uint8", ".npy")])  # fmt: skip
@pytest.mark.parametrize("kind", ["disk", "lmdb"])
def test_samples(tmp_path: Path, dtype: str, suffix: str, kind: str) -> None:
    channels = 1 if suffix == ".png" else 4
    values = bands(60, 70, channels, dtype)
    root = write(tmp_path / "data" / f"a{suffix}", values)
    low, high = {"uint16": (0, 65535), "uint8": (0, 255), "int16": (-32768, 32767)}.get(dtype, RANGE)
    options: dict[str, Any] = {"channels": channels}
    if dtype not in ("uint8", "uint16"):
        options["value_range"] = [low, high]
    if kind == "lmdb":
        arguments = ["prepare", "folder", str(root), str(tmp_path / "set"), "--channels", str(channels)]
        assert main([*arguments, "--processes", "1"]) == 0
        root = tmp_path / "set.lmdb"
        assert np.array_equal(open_source(str(root), "lmdb", None, channels, (low, high)).read(0), values)

    unit = (values.astype(np.float64) - low) / (high - low)
    item = build(val_block(root, scales=[2], **options))[0]
    assert item["gt"].shape == (channels, 60, 70) and item["gt"].dtype == torch.float32
    assert np.abs(item["gt"].numpy() - unit.transpose(2, 0, 1)).max() < 1e-7
    tolerance = 1.01 / 255 if dtype == "uint8" else 1e-6
    assert np.abs(item["lq"].numpy() - bicubic(unit, (30, 35)).transpose(2, 0, 1)).max() < tolerance

    item = build(train_block(root, **options))[0]
    assert item["lq"].shape == (channels, 12, 12) and item["gt"].shape == (100, channels)
    known = unit.reshape(-1, channels).astype(np.float32)
    distance = torch.cdist(item["gt"].double(), torch.from_numpy(known).double()).min(1).values
    assert distance.max() < 1e-6
    assert 0 <= item["lq"].min() and item["lq"].max() <= 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_ends_of_a_range_may_be_rounded(tmp_path: Path, dtype: str) -> None:
    for low, high in (0, 0.7), (250, 250.3), (-1000, -999.7):
        values = np.array([[low, high]]).astype(dtype)
        root = write(tmp_path / "a.npy", values[..., None])
        source = open_source(str(root), "disk", None, 1, (low, high))
        assert np.array_equal(source.read(0)[..., 0], values)


def test_8_bit_values_with_a_range(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(51, size=(60, 70, 1), dtype=np.uint8)
    item = build(val_block(write(tmp_path / "a.npy", values), channels=1, value_range=[0, 50]))[0]
    assert np.abs(item["gt"].numpy() - values.transpose(2, 0, 1) / 50).max() < 1e-7
    same, plain = (build(val_block(tmp_path, channels=1, **more))[0] for more in ({"value_range": [0, 255]}, {}))
    assert torch.equal(same["gt"], plain["gt"]) and torch.equal(same["lq"], plain["lq"])


def test_degraded_input_of_a_deep_picture(tmp_path: Path) -> None:
    deep = noise_image(60, 70).astype(np.uint16) * 257
    root = write(tmp_path / "a.png", deep)
    item = build(val_block(root, degradation="jpeg:50"))[0]
    assert torch.equal(item["gt"], torch.from_numpy(deep.transpose(2, 0, 1) / 65535).float())
    save(root / "a.png", noise_image(60, 70))
    assert torch.equal(item["lq"], build(val_block(root, degradation="jpeg:50"))[0]["lq"])


@pytest.mark.parametrize("scale_range", [None, [1, 2]])
def test_pairs(tmp_path: Path, scale_range: list[int] | None) -> None:
    gt, lq = bands(40, 60), bands(20, 30)
    roots = write(tmp_path / "gt" / "a.tif", gt), write(tmp_path / "lq" / "a.npy", lq)
    changes = {"scales": [2], "scale_range": scale_range, "filename_tmpl": "{}.npy"}
    item = build(paired_train_block(*roots, channels=4, value_range=list(RANGE), **changes))[0]
    assert item["lq"].shape == (4, 12, 12) and item["gt"].shape == (100, 4)
    assert 0 <= item["gt"].min() and item["gt"].max() <= 1


# Gray pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["disk", "lmdb"])
@pytest.mark.parametrize("sample", ["pixels", "patch"])
def test_gray_sample_equals_one_channel_of_an_rgb_sample(tmp_path: Path, kind: str, sample: str) -> None:
    root = save(tmp_path / "photos" / "a.png", noise_image(60, 70)[..., 0]).parent
    if kind == "lmdb":
        assert main(["prepare", "folder", str(root), str(tmp_path / "set"), "--channels", "1", "--processes", "1"]) == 0
        root = tmp_path / "set.lmdb"
        assert (root / "meta_info.txt").read_text() == "a_s001.png (60,70,1) 1\n"
    items = []
    for channels in (1, 3):
        torch.manual_seed(0)
        items.append(build(train_block(root, channels=channels, sample=sample))[0])
    gray, rgb = items
    assert gray["lq"].shape == (1, 12, 12) and gray["gt"].shape == (100, 1)
    assert torch.equal(gray["lq"].expand(3, -1, -1), rgb["lq"]) and torch.equal(gray["gt"].expand(-1, 3), rgb["gt"])


# Bad input ----------------------------------------------------------------------------------------------------


def spoiled(value: float) -> np.ndarray:
    values = bands(60, 70)
    values[0, 0, 0], values[7, 9, 2] = RANGE[0], value
    return values


@pytest.mark.parametrize(("values", "changes", "parts"), [
    (bands(60, 70), {"value_range": None}, ("a.npy has float32 values, whose range is unknown; set value_range",)),
    (bands(60, 70, dtype="int16"), {"value_range": None}, ("has int16 values, whose range is unknown",)),
    (spoiled(np.nan), {}, ("a.npy contains nan at row 7, column 9; fill missing values",)),
    (spoiled(np.inf), {}, ("a.npy contains inf at row 7",)),
    (spoiled(21), {}, ("a.npy has values from -5 to 21, outside value_range: [-5, 20]; widen value_range",)),
    (spoiled(-6), {"on_corrupt": "skip"}, ("has values from -6 to",)),
    (bands(60, 70), {"channels": 3}, ("a.npy has 4 channels, but channels is 3; set channels: 4",)),
    (bands(60, 70), {"channels": 3, "on_corrupt": "skip"}, ("has 4 channels, but channels is 3",)),
    (bands(60, 70), {"channels": 0}, ("channels", "from 1 to 10000", "got 0")),
    (bands(60, 70), {"value_range": [1, 1]}, ("value_range: expected a pair [low, high] of numbers", "got [1, 1]")),
    (bands(60, 70), {"value_range": 5}, ("value_range: expected a pair",)),
    (bands(60, 70), {"value_range": [0, float("inf")]}, ("value_range: expected a pair",)),
    (bands(60, 70), {"degradation": "jpeg:50"}, ("degradation: needs channels: 3",)),
    (bands(60, 70), {"io_backend": {"type": "pixels"}}, ("contains 8-bit RGB, but channels is 4",)),
])  # fmt: skip
@pytest.mark.parametrize("phase", ["train", "val"])
def test_bad_input_is_reported_before_training(tmp_path, values, changes, parts, phase) -> None:
    root = write(tmp_path / "b" / "a.npy", values)
    options = {"channels": 4, "value_range": list(RANGE), **changes}
    if phase == "val":
        options.pop("on_corrupt", None)
    block = (train_block if phase == "train" else val_block)(root, **options)
    refused(lambda: build(block), "datasets: Photos", *parts)


def test_bad_values_in_an_lmdb_are_reported_before_training(tmp_path: Path) -> None:
    root = write(tmp_path / "b" / "a.npy", spoiled(np.nan)).parent
    prepare = ["prepare", "folder", str(root / "b"), str(root / "set"), "--channels", "4", "--processes", "1"]
    assert main(prepare) == 2 and not (root / "set.lmdb").exists()
    write(root / "b" / "a.npy", spoiled(21))
    for value_range in (("-5", "20"), ("20", "-5")):
        assert main([*prepare, "--value_range", *value_range]) == 2
    assert main(prepare) == 0
    options = partial(train_block, root / "set.lmdb", channels=4)
    refused(lambda: build(options()), "set.lmdb/a_s001 has float32 values, whose range is unknown")
    refused(lambda: build(options(value_range=list(RANGE))), "set.lmdb/a_s001 has values from -5 to 21")
    refused(lambda: build(options(value_range=[-5, 30], channels=1)), "set.lmdb/a_s001 has 4 channels")


def test_files_beyond_the_checked_bytes_are_reported_when_they_are_read(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "a.npy", bands(60, 70))
    write(tmp_path / "b.npy", spoiled(np.nan))
    monkeypatch.setattr(base, "CHECKED_BYTES", 1000)
    options = {"channels": 4, "value_range": list(RANGE)}
    dataset = build(train_block(tmp_path, **options))
    dataset[0]
    refused(lambda: dataset[1], "b.npy contains nan at row 7")
    skipping = build(train_block(tmp_path, on_corrupt="skip", **options))
    assert skipping[1]["gt_path"].endswith("a.npy") and skipping.skipped >= 1


def test_pixels_hold_only_pictures_of_8_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "b" / "a.png", noise_image(60, 70).astype(np.uint16)).parent
    assert main(["prepare", "folder", str(root / "b"), str(root / "set"), "--pixels", "--processes", "1"]) == 2
    assert "a.png has 3 channels of uint16, but --pixels supports only 8-bit RGB" in capsys.readouterr().err
