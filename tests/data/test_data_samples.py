"""Training samples equal the official ones, computed here with Pillow and NumPy."""
from __future__ import annotations

import weakref
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from datafiles import build, noise_image, paired_train_block, position_image, refused, save, train_block
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from liif_basicsr.data.arbitrary_scale_image_dataset import ArbitraryScaleImageDataset
from liif_basicsr.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from liif_basicsr.data.decode import to_image_tensor
from liif_basicsr.data.sampling import floor_size, generator, resize, sample_pixels, scaled_size

SIZE = (150, 210)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save(tmp_path / "photos" / "a.png", position_image(*SIZE))
    return tmp_path / "photos"


def plain_coord(n: int) -> np.ndarray:
    """Return the centers of n pixels, computed with the official order of float32 operations."""
    return np.float32(-1 + 1 / n) + np.float32(2 / n) * np.arange(n, dtype=np.float32)


def orient(image: np.ndarray, horizontal: bool, vertical: bool, transpose: bool) -> np.ndarray:
    image = image[:, ::-1] if horizontal else image
    image = image[::-1] if vertical else image
    return image.transpose(1, 0, 2) if transpose else image


def find_crop(item: dict, image: np.ndarray) -> tuple[np.ndarray, tuple[bool, bool, bool], tuple[int, int]]:
    """Return the crop of `position_image` that a sample was drawn from, its orientation and its corner."""
    height, width = (round(2 / cell) for cell in item["cell"][0].tolist())
    index = np.stack([((item["coord"][:, k].double().numpy() + 1) * n - 1) / 2 for k, n in enumerate((height, width))])
    i, j = np.rint(index).astype(int)
    position = np.rint(item["gt"].numpy() * 255).astype(int)[:, :2]
    for transform in product((False, True), repeat=3):
        shape = (width, height) if transform[2] else (height, width)
        inside = orient(position_image(*shape), *transform)[i, j, :2].astype(int)
        corner = position - inside
        if (corner == corner[0]).all():
            top, left = corner[0]
            return image[top : top + shape[0], left : left + shape[1]], transform, (top, left)
    raise AssertionError("the pixels are not from one crop in one orientation")


@pytest.mark.parametrize("seed", range(12))
def test_sample_equals_the_official_procedure(photos: Path, seed: int) -> None:
    torch.manual_seed(seed)
    item = ArbitraryScaleImageDataset(train_block(photos))[0]
    crop, transform, _ = find_crop(item, position_image(*SIZE))
    n = len(crop)
    assert crop.shape == (n, n, 3) and 12 <= n <= 48

    lq = np.asarray(Image.fromarray(crop).resize((12, 12), Image.Resampling.BICUBIC))
    expected = torch.from_numpy(orient(lq, *transform).transpose(2, 0, 1).copy()).float() / 255
    assert torch.equal(item["lq"], expected)

    i, j = (np.rint(((item["coord"][:, k].double().numpy() + 1) * n - 1) / 2).astype(int) for k in (0, 1))
    assert len(set(zip(i, j, strict=True))) == 100
    assert np.array_equal(item["coord"].numpy(), np.stack((plain_coord(n)[i], plain_coord(n)[j]), axis=-1))
    assert np.array_equal(item["gt"].numpy(), orient(crop, *transform)[i, j].astype(np.float32) / np.float32(255))
    assert torch.equal(item["cell"], torch.full((1, 2), 2 / n))
    assert item["scale"].tolist() == pytest.approx([n / 12] * 2)
    assert item["gt_path"] == str(photos / "a.png")


def test_single_pixel_input(photos: Path) -> None:
    dataset = ArbitraryScaleImageDataset(train_block(photos, lq_size=1, sample_q=1))
    for _ in range(20):  # with and without flips
        assert dataset[0]["lq"].shape == (3, 1, 1)


@pytest.mark.parametrize("lq_size", [[6, 12], [12, 6]])
def test_rectangular_patches(photos: Path, lq_size: list[int]) -> None:
    dataset = ArbitraryScaleImageDataset(train_block(photos, lq_size=lq_size, sample_q=72))
    found = []
    for _ in range(60):
        item = dataset[0]
        crop, transform, _ = find_crop(item, position_image(*SIZE))
        scale = [side / own for side, own in zip(crop.shape, lq_size, strict=False)]
        assert scale[0] == pytest.approx(scale[1], abs=0.1) and item["scale"].tolist() == pytest.approx(scale)
        lq = np.asarray(Image.fromarray(crop).resize(lq_size[::-1], Image.Resampling.BICUBIC))
        assert item["lq"].shape == (3, *lq_size)
        assert torch.equal(item["lq"], to_image_tensor(orient(lq, *transform)))
        found.append(transform)
    assert set(found) == {(x, y, False) for x in (False, True) for y in (False, True)}


def test_square_window_of_a_rectangular_patch(photos: Path) -> None:
    block = train_block(photos, lq_size=[8, 20], scale_range=[1, 2], sample="patch", sample_q=64)
    item = ArbitraryScaleImageDataset(block)[0]
    height, width = (round(2 / cell) for cell in item["cell"][0].tolist())
    y, x = item["coord"].view(8, 8, 2).unbind(-1)
    assert width > height and (y.diff(dim=1) == 0).all() and (x.diff(dim=0) == 0).all()
    assert y.diff(dim=0).numpy() == pytest.approx(2 / height, abs=1e-6)
    assert x.diff(dim=1).numpy() == pytest.approx(2 / width, abs=1e-6)
    message = "the largest square in the smallest crop has 64 pixels"
    refused(lambda: build(block | {"sample_q": 81}), "sample_q is 81", message)


def test_all_orientations_scales_and_corners_are_drawn(photos: Path) -> None:
    torch.manual_seed(0)
    dataset = ArbitraryScaleImageDataset(train_block(photos))
    found = [find_crop(dataset[0], position_image(*SIZE)) for _ in range(400)]
    assert len({transform for _, transform, _ in found}) == 8
    sides = [len(crop) for crop, _, _ in found]
    assert min(sides) == 12 and max(sides) == 48 and abs(np.mean(sides) - 30) < 2
    assert min(top for _, _, (top, _) in found) < 5 and min(left for _, _, (_, left) in found) < 5
    assert max(top + len(crop) for crop, _, (top, _) in found) > 145
    assert max(left + len(crop) for crop, _, (_, left) in found) > 205


@pytest.mark.parametrize(("options", "count"), [((False, False), 1), ((True, False), 2), ((False, True), 4)])
def test_only_enabled_flips_are_drawn(photos: Path, options: tuple[bool, bool], count: int) -> None:
    dataset = ArbitraryScaleImageDataset(train_block(photos, use_hflip=options[0], use_rot=options[1]))
    assert len({find_crop(dataset[0], position_image(*SIZE))[1] for _ in range(60)}) == count


@pytest.mark.parametrize("seed", range(6))
def test_paired_crops_match(tmp_path: Path, seed: int) -> None:
    for scale in (2, 3):
        save(tmp_path / f"GT_x{scale}" / "a.png", position_image(40 * scale, 50 * scale))
        save(tmp_path / f"LQ_x{scale}" / f"a_x{scale}.png", position_image(40, 50, seed=scale))
    block = paired_train_block(tmp_path / "GT_x{scale}", tmp_path / "LQ_x{scale}", filename_tmpl="{}_x{scale}")
    torch.manual_seed(seed)
    item = ArbitraryScalePairedDataset(block)[0]
    scale = round(item["scale"][0].item())
    assert item["gt_path"] == str(tmp_path / f"GT_x{scale}" / "a.png")
    crop, transform, (top, left) = find_crop(item, position_image(40 * scale, 50 * scale))
    assert crop.shape == (12 * scale, 12 * scale, 3) and top % scale == left % scale == 0
    lq = position_image(40, 50, seed=scale)[top // scale :, left // scale :][:12, :12]
    assert torch.equal(item["lq"], torch.from_numpy(orient(lq, *transform).transpose(2, 0, 1).copy()).float() / 255)


@pytest.mark.parametrize("drawn", [{"scales": [2]}, {"scales": [2], "scale_range": [1.5, 1.5]}])
def test_rectangular_paired_patches(tmp_path: Path, drawn: dict) -> None:
    gt = save(tmp_path / "GT" / "a.png", position_image(80, 100)).parent
    lq = save(tmp_path / "LQ" / "a.png", position_image(40, 50, seed=1)).parent
    block = paired_train_block(gt, lq, lq_size=[6, 40], sample_q=64, use_rot=False, use_hflip=False, **drawn)
    item = build(block)[0]
    scale = 2 if "scale_range" not in drawn else 1.5
    top, left = (item["lq"][:2, 0, 0] * 255).round().int().tolist()
    assert torch.equal(item["lq"], to_image_tensor(position_image(40, 50, seed=1)[top : top + 6, left : left + 40]))
    assert item["cell"][0].tolist() == pytest.approx([2 / (6 * scale), 2 / (40 * scale)])
    refused(lambda: build(block | {"lq_size": [6, 51]}), "a.png is 40x50, smaller than 6x51", "lq_size")


def test_all_scales_of_pairs_are_drawn(tmp_path: Path) -> None:
    for scale in (2, 3):
        save(tmp_path / f"GT_x{scale}" / "a.png", noise_image(40 * scale, 50 * scale))
        save(tmp_path / f"LQ_x{scale}" / "a.png", noise_image(40, 50))
    dataset = ArbitraryScalePairedDataset(paired_train_block(tmp_path / "GT_x{scale}", tmp_path / "LQ_x{scale}"))
    assert len(dataset) == 1
    assert {round(dataset[0]["scale"][0].item()) for _ in range(30)} == {2, 3}


def test_bands_are_copied_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    copies, convert = list[weakref.ref[Image.Image]](), Image.fromarray

    def counted(array: np.ndarray) -> Image.Image:
        assert all(copy() is None for copy in copies)
        picture = convert(array)
        copies.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(Image, "fromarray", counted)
    assert resize(np.zeros((6, 6, 5), np.float32), (3, 3), Image.Resampling.BICUBIC).shape == (3, 3, 5)


@given(height=st.integers(1, 60), width=st.integers(1, 60), data=st.data())
def test_pixels_are_distinct_and_at_their_coordinates(height: int, width: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, height * width))
    image = position_image(height, width)
    coord, rgb = sample_pixels(image, count, generator())
    assert coord.shape == (count, 2) and rgb.shape == (count, 3) and coord.dtype == rgb.dtype == torch.float32
    row, column = (np.rint(rgb[:, k].numpy() * 255).astype(int) for k in (0, 1))
    assert len(set(zip(row, column, strict=True))) == count
    assert np.array_equal(coord[:, 0].numpy(), plain_coord(height)[row])
    assert np.array_equal(coord[:, 1].numpy(), plain_coord(width)[column])


def test_pixels_are_drawn_uniformly() -> None:
    torch.manual_seed(0)
    image, hits = position_image(6, 7), np.zeros((6, 7))
    for _ in range(3000):
        place = np.rint(sample_pixels(image, 14, generator())[1].numpy() * 255).astype(int)
        hits[place[:, 0], place[:, 1]] += 1
    assert np.abs(hits / 3000 - 1 / 3).max() < 0.04


@given(
    size=st.tuples(st.integers(8, 500), st.integers(8, 500)),
    scale=st.tuples(st.floats(1, 8), st.floats(1, 8)),
)
def test_validation_crops_lie_within_the_image(size: tuple[int, int], scale: tuple[float, float]) -> None:
    small = floor_size(size, scale)
    for n, low, cut, s in zip(size, small, scaled_size(small, scale), scale, strict=True):
        assert low >= 1 and cut <= n < cut + s + 1
