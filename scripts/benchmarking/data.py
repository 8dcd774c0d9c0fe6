"""Measure the time to draw training samples, degrade images and validate, on scikit-image's photographs."""
from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model

from benchmarking.memory import private_memory
from benchmarking.official import import_official
from benchmarking.timing import row
from liif_basicsr.data.degradations import Degradation
from liif_basicsr.data.prepare import sets, storing
from liif_basicsr.data.source import open_source

SIZE, COUNT = (1356, 2040), 6  # as in DIV2K
SAMPLE = {"lq_size": 48, "scale_range": [1, 4], "sample_q": 2304, "use_hflip": True, "use_rot": True,
          "num_worker_per_gpu": 0, "batch_size_per_gpu": 16}  # fmt: skip
# The official dataset's `cache`, our corresponding source, and the number of samples in a measurement.
CASES = [("none", "disk", 8), ("bin", "lmdb", 40), ("in_memory", "pixels", 200)]
OURS = {"disk": "PNG files", "lmdb": "LMDB of PNG sub-images", "pixels": "decoded pixels, memory-mapped"}
SEEDS = 40  # number of seeds; a measurement applies a degradation once with each
PHOTOGRAPHS = Path(skimage.__file__).parent / "data"


def make_images(folder: Path) -> None:
    """Write COUNT mosaics of photographs, each of the size SIZE. Each mosaic has another order of the photographs."""
    source = open_source(str(PHOTOGRAPHS), "disk").selected(sets.QUICKSTART_TRAIN, "benchmark.py")
    parts = [source.read(k) for k in range(len(source))]
    for number in range(COUNT):
        random.Random(number).shuffle(parts)
        height, width = SIZE[0] // 2, SIZE[1] // 2
        quarters = [np.tile(part, (8, 8, 1))[:height, :width] for part in parts[:4]]
        mosaic = np.concatenate([np.concatenate(quarters[k : k + 2], axis=1) for k in (0, 2)])
        cv2.imwrite(str(folder / f"{number}.png"), mosaic[..., ::-1])


def open_ours(root: Path, kind: str) -> Any:
    """Return our dataset of type `kind` ('disk', 'lmdb' or 'pixels'), with the official settings."""
    block = {"name": kind, "type": "ArbitraryScaleImageDataset", "phase": "train", "io_backend": {"type": kind}}
    return build_dataset({**block, **SAMPLE, "dataroot_gt": str(root)})


def draw(dataset: Any, count: int) -> Callable[[], None]:
    """Return a function that draws `count` samples."""

    def run() -> None:
        for _ in range(count):
            dataset[random.randrange(len(dataset))]

    return run


def after_use(dataset: Any) -> Any:
    """Return the dataset after drawing samples from it."""
    draw(dataset, 20)()
    return dataset


def grown(make: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of `make` and the memory that it allocated, in MiB."""
    before = private_memory()
    return make(), (private_memory() - before) / 2**20


def measure_data(official: Path | None, runs: int) -> None:
    """Print the processor time per sample (on one core) and the memory of each dataset, with the official settings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        roots = {kind: Path(name) / kind for kind in OURS}
        roots["disk"].mkdir()
        make_images(roots["disk"])
        source = open_source(str(roots["disk"]), "disk")
        storing.store(source, roots["lmdb"], storing.Settings())
        storing.store(source, roots["pixels"], storing.Settings(pixels=True))
        for cache, kind, count in CASES:
            ours, held = grown(lambda kind=kind: after_use(open_ours(roots[kind], kind)))
            with redirect_stdout(None):
                theirs = open_official(official, roots["disk"], cache)
            label = f"a sample from {OURS[kind]}" + (f" (official: `{cache}`)" if official else "")
            row(label, draw(theirs, count) if official else None, draw(ours, count), runs, time.process_time, per=count)
            if kind == "pixels":
                mapped = (roots[kind] / "pixels.bin").stat().st_size / 2**20
                floats = sum(tensor.nbytes for tensor in theirs.dataset.files) / 2**20 if official else 0
                print(f"| memory for {COUNT} images | {held:.0f} MB, and {mapped:.0f} MB mapped | "
                      + (f"official: {floats:.0f} MB | |" if official else "| |"))  # fmt: skip
    torch.set_num_threads(threads)


def open_official(official: Path | None, root: Path, cache: str) -> Any:
    """Return the official dataset with the official settings, or None without a clone."""
    if official is None:
        return None
    folder = import_official(official, "datasets.image_folder").ImageFolder(str(root), cache=cache)
    wrapper = import_official(official, "datasets.wrappers").SRImplicitDownsampled
    return wrapper(folder, inp_size=48, scale_max=4, augment=True, sample_q=2304)


def measure_degradations(runs: int) -> None:
    """Print the processor time (on one core) that each degradation takes for a crop of scikit-image's astronaut."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    image = np.ascontiguousarray(skimage.data.astronaut()[:192, :192])
    for name in ("jpeg", "photo", "realesrgan"):
        degradation = Degradation({"type": name, "clean_prob": 0})

        def draw_all(degradation: Degradation = degradation) -> None:
            for seed in range(SEEDS):
                degradation(image, (48, 48), seed)

        row(f"degradation {name}, 192x192 to 48x48", None, draw_all, runs, time.process_time, per=SEEDS)
    torch.set_num_threads(threads)


def measure_validation(network: dict[str, Any]) -> None:
    """Measure a validation by LIIFModel, and the share of its time that rendering takes."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "meta_info.txt"
        names.write_text("\n".join(sets.QUICKSTART_VAL))
        block = {"name": "photographs", "type": "ArbitraryScaleImageDataset", "phase": "val", "scales": [2, 3, 4],
                 "dataroot_gt": str(PHOTOGRAPHS), "meta_info_file": str(names), "io_backend": {"type": "disk"},
                 "protocol": "benchmark"}  # fmt: skip
        model = build_model({
            "name": "benchmark", "model_type": "LIIFModel", "num_gpu": 0, "is_train": False, "dist": False, "rank": 0,
            "world_size": 1, "network_g": network, "path": {"results_root": folder, "visualization": folder},
            "val": {"save_img": False, "pbar": False, "metrics": {"psnr": {"type": "calculate_psnr_liif"}}},
        })  # fmt: skip
        rendering, render = [0.0], model.net_g.render

        def timed(*args: Any, **kwargs: Any) -> torch.Tensor:
            start = time.perf_counter()
            output = render(*args, **kwargs)
            rendering[0] += time.perf_counter() - start
            return output

        model.net_g.render = timed
        loader = build_dataloader(build_dataset(block), block, num_gpu=0)
        start = time.perf_counter()
        model.validation(loader, 0, None, save_img=False)
        took = time.perf_counter() - start
    print(f"| validation at x2, x3, x4 | {took:.1f} s | rendering takes {rendering[0] / took:.0%} of it | |")
