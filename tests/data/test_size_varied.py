"""SizeVariedPairedDataset equals the official formula; `prepare celeba_hq` makes its data."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from datafiles import noise_image, refused, save
from PIL import Image
from test_prepare_data import prepare

from liif_basicsr.data.prepare.celeba_hq import celeba_hq
from liif_basicsr.data.size_varied_paired_dataset import SizeVariedPairedDataset
from liif_basicsr.rendering.coordinates import make_coord

COUNT = 5
FACES = ["p3.png", "p0.png", "p4.png", "p1.png", "p2.png"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for k in range(COUNT):
        save(folder / "32" / f"p{k}.png", noise_image(32, 32, seed=k))
        save(folder / "8" / f"p{k}.png", noise_image(8, 8, seed=k + 100))
    (folder / "split.json").write_text(json.dumps({"train": FACES, "val": FACES[:2]}))
    return folder


def block(folder: Path, **changes: object) -> dict[str, object]:
    common = {
        "name": "Faces", "type": "SizeVariedPairedDataset", "phase": "train", "io_backend": {"type": "disk"},
        "dataroot_gt": str(folder / "32"), "dataroot_lq": str(folder / "8"),
        "split_file": str(folder / "split.json"), "split_key": "train",
    }  # fmt: skip
    training = {
        "size_min": 8, "size_max": 32, "sample_q": 40, "use_hflip": True,
        "num_worker_per_gpu": 0, "batch_size_per_gpu": 2,
    }  # fmt: skip
    given = {**common, **(training if changes.get("phase") != "val" else {}), **changes}
    return {key: value for key, value in given.items() if value is not None}


def resize(image: Image.Image, size: int) -> Image.Image:
    return image.resize((size, size), Image.Resampling.BICUBIC)


def official(folder: Path, index: int, flip: bool, gt_size: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the low-resolution image and the ground truth of an item, computed by the official formula."""
    size = round(8 + (32 - 8) * (index / (COUNT - 1)))
    lq, gt = (Image.open(folder / side / FACES[index]) for side in ("8", "32"))
    gt = resize(gt, size)
    if flip:
        lq, gt = (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in (lq, gt))
    if gt_size:
        gt = resize(gt, gt_size)
    return np.asarray(lq) / np.float32(255), np.asarray(gt) / np.float32(255)


@pytest.mark.parametrize("gt_size", [None, 32, 13])
def test_items_equal_the_official_formula(data: Path, gt_size: int | None) -> None:
    dataset = SizeVariedPairedDataset(block(data, gt_size=gt_size))
    torch.manual_seed(0)
    flips = set()
    for index in [*range(COUNT)] * 4:
        item = dataset[index]
        both = [official(data, index, flip, gt_size) for flip in (False, True)]
        flip = [k for k in (0, 1) if np.array_equal(item["lq"].permute(1, 2, 0), both[k][0])]
        assert len(flip) == 1
        flips.update(flip)
        gt = both[flip[0]][1]
        assert torch.equal(item["cell"], torch.tensor([[2 / gt.shape[0], 2 / gt.shape[1]]]))
        matches = (item["coord"][:, None] == make_coord(gt.shape[:2])).all(-1)
        assert matches.sum(1).tolist() == [1] * 40 and matches.sum(0).max() == 1  # distinct pixels
        assert torch.equal(item["gt"], torch.from_numpy(gt.reshape(-1, 3))[matches.int().argmax(1)])
        assert item["gt_path"].endswith(FACES[index])
    assert flips == {0, 1}


def test_validation_uses_whole_images(data: Path) -> None:
    dataset = SizeVariedPairedDataset(block(data, phase="val", split_key="val"))
    assert dataset.scales == [(4, 4)] and len(dataset) == 2
    assert dataset[1]["lq_path"] == str(data / "8" / FACES[1])
    whole = np.asarray(Image.open(data / "32" / FACES[1])) / np.float32(255)
    assert torch.equal(dataset[1]["gt"].permute(1, 2, 0), torch.from_numpy(whole))
    assert len(SizeVariedPairedDataset(block(data, phase="val", split_key="train", first_k=3))) == 3


@pytest.mark.parametrize(("changes", "parts"), [
    ({"split_key": "trian"}, ("no list 'trian'", "did you mean 'train'")),
    ({"split_file": "nothing.json"}, ("nothing.json cannot be read: No such file or directory; correct the path",)),
    ({"size_min": 33}, ("size_min is 33", "size_max is 32")),
    ({"size_max": 33}, ("at most 32",)),
    ({"sample_q": 65}, ("sample_q is 65", "64 pixels")),
    ({"gt_size": 6}, ("sample_q is 40", "36 pixels")),
    ({"size_min": None}, ("'size_min' is missing",)),
    ({"lq_size": 8}, ("unknown option 'lq_size'",)),
    ({"meta_info_file": "m.txt"}, ("meta_info_file: expected ~, because split_file selects the images, got 'm.txt'",)),
    ({"first_k": 0}, ("first_k: expected an integer of at least 1",)),
])  # fmt: skip
def test_invalid_options(data: Path, changes: dict[str, object], parts: tuple[str, ...]) -> None:
    refused(lambda: SizeVariedPairedDataset(block(data, **changes)), "datasets: Faces", *parts)


@pytest.mark.parametrize(("text", "part"), [
    ("{", "is not JSON"), ("[]", "no list 'train'"), ('{"train": []}', "must be a non-empty list of file names"),
    ('{"train": [1]}', "must be a non-empty list of file names"), ('{"train": ["p9.png"]}', "requires p9.png"),
])  # fmt: skip
def test_invalid_split(data: Path, tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "s.json").write_text(text)
    refused(lambda: SizeVariedPairedDataset(block(data, split_file=str(tmp_path / "s.json"))), "s.json", part)


def test_names_may_contain_subfolders(data: Path, tmp_path: Path) -> None:
    for side in ("32", "8"):
        shutil.copytree(data / side, tmp_path / side / "faces")
    (tmp_path / "split.json").write_text(json.dumps({"train": ["faces/p3.png", "faces/p0.png"]}))
    item = SizeVariedPairedDataset(block(tmp_path, phase="val"))[1]
    assert item["lq_path"] == str(tmp_path / "8" / "faces" / "p0.png")


@pytest.mark.parametrize("size", [(32, 30), (30, 30)])
def test_image_of_another_size(data: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    folder = Path(shutil.copytree(data, tmp_path / "data"))
    save(folder / "32" / "p2.png", noise_image(*size))
    refused(lambda: SizeVariedPairedDataset(block(folder)), "p2.png", f"{size[0]}x{size[1]}", "squares of one size")


# prepare ---------------------------------------------------------------------------------------------


def test_faces_equal_the_official_script(tmp_path: Path) -> None:
    for k in range(6):
        save(tmp_path / "faces" / f"{k}.jpg", noise_image(300, 300, seed=k))
    done = prepare(tmp_path, "celeba_hq", "faces", "--out", "out", "--processes", 1)
    assert done.stdout.split() == [f"out/{name}" for name in ("256", "128", "64", "32", "split.json")]
    split = json.loads((tmp_path / "out" / "split.json").read_text())
    assert split == {"train": [f"{k}.png" for k in range(5)], "val": ["5.png"]}
    for name in (*split["train"], *split["val"]):
        first = resize(Image.open(tmp_path / "faces" / name.replace("png", "jpg")), 256)
        assert np.array_equal(Image.open(tmp_path / "out" / "256" / name), first)
        for size in (128, 64, 32):
            assert np.array_equal(Image.open(tmp_path / "out" / str(size) / name), resize(first, size))
    opt = {**block(tmp_path / "out"), "dataroot_gt": str(tmp_path / "out/128"), "dataroot_lq": str(tmp_path / "out/64")}
    assert len(SizeVariedPairedDataset({**opt, "size_min": 64, "size_max": 128})) == 5
    shutil.rmtree(tmp_path / "out" / "32")
    assert celeba_hq(tmp_path / "faces", tmp_path / "out", 1) == [tmp_path / "out" / "32"]
    assert celeba_hq(tmp_path / "faces", tmp_path / "out", 1) == []


@pytest.mark.parametrize("size", [(300, 299), (255, 255)])
def test_faces_that_are_not_square_or_too_small(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    save(tmp_path / "faces" / "a.png", noise_image(256, 256))
    save(tmp_path / "faces" / "b.png", noise_image(*size))
    refused(lambda: celeba_hq(tmp_path / "faces", tmp_path / "out", 1), "b.png", f"{size[0]}x{size[1]}")
    refused(lambda: celeba_hq(tmp_path / "nothing", tmp_path / "out", 1), "nothing does not exist", "data1024x1024")
    assert not list((tmp_path / "out").iterdir())
