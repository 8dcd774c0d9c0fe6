"""The datasets in BasicSR's samplers and prefetching loaders."""
from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.data.prefetch_dataloader import CPUPrefetcher
from datafiles import build, noise_image, refused, save, train_block, val_block

from liif_basicsr.errors import LIIFError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for k in range(8):
        save(tmp_path / "photos" / f"{k}.png", noise_image(48, 48, seed=k))
    return tmp_path / "photos"


@pytest.fixture
def _restored_excepthook():
    before = threading.excepthook
    yield
    threading.excepthook = before


# dataset_enlarge_ratio ----------------------------------------------------------------------------------------


def drawn(dataset: Any, ratio: float, epochs: int, replicas: int = 1) -> list[Counter]:
    """Count how often each epoch of BasicSR's sampler draws each image, summed over all processes."""
    counts = [Counter() for _ in range(epochs)]
    for rank in range(replicas):
        sampler = EnlargedSampler(dataset, replicas, rank, ratio)
        for epoch, count in enumerate(counts):
            sampler.set_epoch(epoch)
            rng = np.random.default_rng((epoch, rank))
            count.update(dataset._balanced(index, rng) for index in sampler)
    return counts


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.75, 1.5, 2.3])
def test_every_image_is_drawn_equally_often(photos: Path, ratio: float) -> None:
    dataset = build(train_block(photos, dataset_enlarge_ratio=ratio))
    epochs = drawn(dataset, ratio, epochs=2000)
    total = sum(epochs, Counter())
    assert set(total) == set(range(8))
    per_epoch = np.ceil(8 * ratio) / 8
    assert all(abs(total[k] / 2000 - per_epoch) < 0.06 for k in range(8)), total
    assert len({tuple(sorted(count.elements())) for count in epochs}) > 2  # epochs use different images


@pytest.mark.parametrize("ratio", [1, 3])
def test_whole_ratios_draw_every_image_in_every_epoch(photos: Path, ratio: int) -> None:
    dataset = build(train_block(photos, dataset_enlarge_ratio=ratio))
    assert drawn(dataset, ratio, epochs=3) == [Counter(dict.fromkeys(range(8), ratio))] * 3


def test_all_images_are_drawn_with_several_processes(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liif_basicsr.data.base.get_dist_info", lambda: (0, 3))
    dataset = build(train_block(photos, dataset_enlarge_ratio=0.5))
    total = sum(drawn(dataset, 0.5, epochs=2000, replicas=3), Counter())
    assert all(abs(total[k] / 2000 - 6 / 8) < 0.06 for k in range(8)), total


def test_launchers_longer_epoch_is_balanced_too(photos: Path) -> None:
    from liif_basicsr.launch.resume import EpochSampler, Resume

    opt = train_block(photos, dataset_enlarge_ratio=0.5, batch_size_per_gpu=3)
    dataset = build(opt)
    sampler = EpochSampler(dataset, 1, 0, 0.5)
    Resume(build_dataloader).build_dataloader(dataset, opt, num_gpu=0, sampler=sampler, seed=0)
    assert sampler.total_size == dataset.epoch_size == 6  # 4 samples fill two batches of 3
    counts, rng = Counter(), np.random.default_rng(0)
    for epoch in range(2000):
        sampler.set_epoch(epoch)
        counts.update(dataset._balanced(index, rng) for index, _ in sampler)
    assert all(abs(counts[k] / 2000 - 6 / 8) < 0.06 for k in range(8)), counts


def test_samples_of_a_fractional_ratio_come_from_all_images(photos: Path) -> None:
    dataset = build(train_block(photos, dataset_enlarge_ratio=0.5))
    torch.manual_seed(0)
    assert len({dataset[index]["gt_path"] for index in [*range(4)] * 30}) == 8


# Prefetching --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_restored_excepthook")
@pytest.mark.parametrize("workers", [0, 1])
def test_corrupt_image_ends_a_prefetching_run(photos: Path, workers: int) -> None:
    path = photos / "3.png"
    path.write_bytes(path.read_bytes()[:1000])
    opt = train_block(photos, prefetch_mode="cpu", num_prefetch_queue=1, num_worker_per_gpu=workers)
    dataset = build(opt)
    sampler = EnlargedSampler(dataset, 1, 0, 1)
    prefetcher = CPUPrefetcher(build_dataloader(dataset, opt, num_gpu=0, sampler=sampler, seed=0))
    with pytest.raises(LIIFError, match=r"3\.png is corrupt"):
        for _ in range(5):  # as in BasicSR's train.py and in feed_data of a model
            prefetcher.next()["lq"]


@pytest.mark.usefixtures("_restored_excepthook")
def test_errors_of_other_threads_are_still_reported(photos: Path) -> None:
    seen = []
    threading.excepthook = seen.append
    for _ in range(2):
        build(train_block(photos, prefetch_mode="cpu"))

    def fail() -> None:
        raise ValueError("elsewhere")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert [str(args.exc_value) for args in seen] == ["elsewhere"]


@pytest.mark.usefixtures("_restored_excepthook")
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"persistent_workers": True}, ("persistent_workers", "num_worker_per_gpu", "got 0")),
        ({"persistent_workers": True, "num_worker_per_gpu": 1, "prefetch_mode": "cpu"}, ("prefetch_mode: cpu",)),
        ({"prefetch_mode": "cuda", "pin_memory": True}, ("prefetch_mode: cuda", "GPU")),
    ],
)
def test_loader_options_that_cannot_work_together(
    photos: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], parts: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(lambda: build(train_block(photos, **changes)), "datasets: Photos", *parts)
    build(train_block(photos, persistent_workers=True, num_worker_per_gpu=1))
    build(val_block(photos))
