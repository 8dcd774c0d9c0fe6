"""The datasets in BasicSR's loaders: validation items, LMDB, workers, and randomness."""
from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader
from basicsr.data.data_sampler import EnlargedSampler
from datafiles import make_lmdb, noise_image, paired_block, save, train_block, val_block
from PIL import Image
from torch.utils.data import DataLoader

from liif_basicsr.data.arbitrary_scale_image_dataset import ArbitraryScaleImageDataset
from liif_basicsr.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from liif_basicsr.data.prepare.storing import Settings, open_any, store


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255


@pytest.fixture
def images() -> dict[str, np.ndarray]:
    return {f"img_{k}": noise_image(70 + k, 90 - k, seed=k) for k in range(4)}


@pytest.fixture
def folder(tmp_path: Path, images: dict[str, np.ndarray]) -> Path:
    for name, image in images.items():
        save(tmp_path / "photos" / f"{name}.png", image)
    (tmp_path / "photos" / "notes.txt").write_text("ignored")
    return tmp_path / "photos"


def loader_of(dataset: ArbitraryScaleImageDataset, workers: int, ratio: int = 4) -> tuple[DataLoader, EnlargedSampler]:
    """Return the loader that BasicSR's train.py builds."""
    sampler = EnlargedSampler(dataset, 1, 0, ratio)
    opt = {**dataset.opt, "num_worker_per_gpu": workers}
    return build_dataloader(dataset, opt, num_gpu=0, dist=False, sampler=sampler, seed=0), sampler


def epoch(loader: DataLoader, sampler: EnlargedSampler, number: int = 0) -> list[dict[str, torch.Tensor]]:
    sampler.set_epoch(number)
    return list(loader)


# Validation --------------------------------------------------------------------------------------------------


def test_validation_crops_and_downsamples_at_each_scale(folder: Path, images: dict[str, np.ndarray]) -> None:
    dataset = ArbitraryScaleImageDataset(val_block(folder, scales=[2, [2, 3.5], 6], protocol="benchmark"))
    assert dataset.scales == [(2, 2), (2, 3.5), (6, 6)] and dataset.protocol == "benchmark"
    assert len(dataset) == 12 and dataset.num_images == 4
    for index, item in enumerate(dataset):
        (sy, sx), (name, image) = dataset.scales[index // 4], list(images.items())[index % 4]
        h, w = int(image.shape[0] / sy), int(image.shape[1] / sx)
        gt = image[: round(h * sy), : round(w * sx)]
        assert torch.equal(item["gt"], tensor(gt))
        assert torch.equal(item["lq"], tensor(np.asarray(Image.fromarray(gt).resize((w, h), Image.Resampling.BICUBIC))))
        assert item["scale"].tolist() == [sy, sx] and item["scale"].dtype == torch.float32
        assert item["gt_path"] == item["lq_path"] == str(folder / f"{name}.png")


def test_pairs_are_read_unchanged_and_gt_is_cropped(tmp_path: Path) -> None:
    for scale in ("2", "3"):
        for k in range(3):
            save(tmp_path / f"GT_x{scale}" / f"{k}.png", noise_image(20 * int(scale) + 1, 30 * int(scale), seed=k))
            save(tmp_path / f"LQ_x{scale}" / f"{k}x{scale}.png", noise_image(20, 30, seed=9 + k))
    roots = tmp_path / "GT_x{scale}", tmp_path / "LQ_x{scale}"
    dataset = ArbitraryScalePairedDataset(paired_block(*roots, filename_tmpl="{}x{scale}", scale=4))
    assert len(dataset) == 6 and dataset.num_images == 3
    for index, item in enumerate(dataset):
        scale, k = (2, 3)[index // 3], index % 3
        assert torch.equal(item["lq"], tensor(noise_image(20, 30, seed=9 + k)))
        assert torch.equal(item["gt"], tensor(noise_image(20 * scale + 1, 30 * scale, seed=k)[: 20 * scale]))
        assert item["lq_path"] == str(tmp_path / f"LQ_x{scale}" / f"{k}x{scale}.png")


def test_scales_default_to_basicsrs_scale(folder: Path) -> None:
    block = val_block(folder, scale=3)
    del block["scales"]
    assert ArbitraryScaleImageDataset(block).scales == [(3, 3)]


def test_batch_shapes(folder: Path) -> None:
    batch = next(iter(build_dataloader(ArbitraryScaleImageDataset(val_block(folder)), val_block(folder))))
    assert batch["lq"].shape == (1, 3, 35, 45) and batch["gt"].shape == (1, 3, 70, 90)
    batch = epoch(*loader_of(ArbitraryScaleImageDataset(train_block(folder)), 0))[0]
    assert batch["lq"].shape == (2, 3, 12, 12) and batch["coord"].shape == (2, 100, 2)
    assert batch["cell"].shape == (2, 1, 2) and batch["gt"].shape == (2, 100, 3)


# Sources -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lmdb", "pixels"])
def test_samples_are_equal_for_all_sources(
    tmp_path: Path, folder: Path, images: dict[str, np.ndarray], kind: str
) -> None:
    root = tmp_path / f"set.{kind}"
    if kind == "lmdb":
        make_lmdb(root, images)
    else:
        store(open_any(folder), root, Settings(pixels=True))
    first = ArbitraryScaleImageDataset(train_block(folder))
    second = ArbitraryScaleImageDataset(train_block(root, io_backend={"type": kind}))
    for index in range(len(first)):
        items = []
        for dataset in (first, second):
            torch.manual_seed(index)
            items.append(dataset[index])
        assert all(torch.equal(items[0][key], items[1][key]) for key in ("lq", "coord", "cell", "gt"))


@pytest.mark.parametrize("kind", ["disk", "lmdb"])
def test_meta_file_selects_and_orders_images(
    tmp_path: Path, images: dict[str, np.ndarray], folder: Path, kind: str
) -> None:
    root = folder if kind == "disk" else make_lmdb(tmp_path / "set.lmdb", images)
    (tmp_path / "meta.txt").write_text("img_2.png (72,88,3)\nimg_0.png\n")
    dataset = ArbitraryScaleImageDataset(val_block(root, meta_info_file=str(tmp_path / "meta.txt")))
    assert [Path(item["gt_path"]).stem for item in dataset] == ["img_2", "img_0"] * 2
    assert torch.equal(dataset[0]["gt"], tensor(images["img_2"]))


def test_gray_alpha_palette_and_16_bit_images_become_rgb(tmp_path: Path) -> None:
    rgb, gray = noise_image(20, 24), noise_image(20, 24)[..., 0]
    rgba = np.concatenate((rgb, gray[..., None]), axis=-1)
    wide = (gray.astype(np.uint16) << 8) | gray[::-1]
    for name, image in (("gray", gray), ("alpha", rgba), ("sixteen", wide)):
        save(tmp_path / f"{name}.png", image)
    palette = Image.fromarray(rgb).quantize(16)
    palette.save(tmp_path / "palette.png")
    found = {Path(i["gt_path"]).stem: i["gt"] for i in ArbitraryScaleImageDataset(val_block(tmp_path, scales=[2]))}
    three = tensor(np.repeat(gray[..., None], 3, axis=2))
    assert torch.equal(found["gray"], three)
    assert torch.equal(found["sixteen"], torch.from_numpy(wide / 65535).float().expand(3, -1, -1))
    assert torch.equal(found["alpha"], tensor(rgb))
    assert torch.equal(found["palette"], tensor(np.asarray(palette.convert("RGB"))))


# Workers and randomness --------------------------------------------------------------------------------------


@pytest.fixture
def lmdb_set(tmp_path: Path, images: dict[str, np.ndarray]) -> ArbitraryScaleImageDataset:
    return ArbitraryScaleImageDataset(train_block(make_lmdb(tmp_path / "set.lmdb", images)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_an_open_lmdb(
    lmdb_set: ArbitraryScaleImageDataset, method: str
) -> None:
    validation = ArbitraryScaleImageDataset(val_block(Path(lmdb_set.opt["dataroot_gt"])))
    before = validation[0]["gt"]
    loader = DataLoader(lmdb_set, batch_size=1, num_workers=2, multiprocessing_context=method)
    assert len([batch for batch in loader if batch["gt"].isfinite().all()]) == 4
    assert torch.equal(validation[0]["gt"], before)


def test_pickling_after_use(lmdb_set: ArbitraryScaleImageDataset) -> None:
    torch.manual_seed(3)
    item = lmdb_set[1]
    again = pickle.loads(pickle.dumps(lmdb_set))
    torch.manual_seed(3)
    assert torch.equal(again[1]["gt"], item["gt"])
    assert len(pickle.dumps(lmdb_set)) < 20_000


@pytest.mark.parametrize("workers", [0, 2])
def test_seed_repeats_and_epochs_differ(lmdb_set: ArbitraryScaleImageDataset, workers: int) -> None:
    def two_epochs() -> list[torch.Tensor]:
        torch.manual_seed(7)
        loader, sampler = loader_of(lmdb_set, workers)
        return [torch.cat([batch["coord"] for batch in epoch(loader, sampler)]) for _ in range(2)]

    first, second = two_epochs()
    random.seed(99)
    again = two_epochs()
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])
    samples = {sample.numpy().tobytes() for sample in torch.cat((first, second))}
    assert len(samples) == 32  # although BasicSR seeds numpy and random alike in both epochs


def test_global_generators_stay_unchanged(lmdb_set: ArbitraryScaleImageDataset) -> None:
    states = random.getstate(), np.random.get_state()[1].tobytes()
    lmdb_set[0]
    assert states == (random.getstate(), np.random.get_state()[1].tobytes())
