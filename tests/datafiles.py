"""Images and dataset options for tests."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from liif_basicsr.data.arbitrary_scale_image_dataset import ArbitraryScaleImageDataset
from liif_basicsr.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
from liif_basicsr.errors import LIIFError

DATASETS = {d.__name__: d for d in (ArbitraryScaleImageDataset, ArbitraryScalePairedDataset)}


def position_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Image whose pixels show their position: red is the row, green the column (both below 256), blue is random."""
    blue = np.random.default_rng(seed).integers(256, size=(height, width))
    rows, columns = np.indices((height, width))
    return np.stack((rows, columns, blue), axis=-1).astype(np.uint8)


def noise_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 RGB image of noise."""
    return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


def smooth_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 RGB image with content at all frequencies."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for step in (1, 4, 16):
        small = rng.normal(0, 25, (-(-height // step), -(-width // step), 3))
        image += small.repeat(step, 0).repeat(step, 1)[:height, :width]
    return (image + 128).clip(0, 255).astype(np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    """Write an image; make its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def make_lmdb(path: Path, images: dict[str, np.ndarray]) -> Path:
    """Write an LMDB with BasicSR's own tool."""
    from basicsr.utils.lmdb_util import LmdbMaker

    maker = LmdbMaker(str(path))
    for key, image in images.items():
        maker.put(cv2.imencode(".png", image[..., ::-1])[1].tobytes(), key, image.shape)
    maker.close()
    return path


def train_block(root: Path, **changes: object) -> dict[str, object]:
    """A training block of ArbitraryScaleImageDataset, as BasicSR passes it."""
    block = {
        "name": "Photos",
        "type": "ArbitraryScaleImageDataset",
        "phase": "train",
        "dataroot_gt": str(root),
        "io_backend": {"type": "lmdb" if root.suffix == ".lmdb" else "disk"},
        "lq_size": 12,
        "scale_range": [1, 4],
        "sample_q": 100,
        "use_hflip": True,
        "use_rot": True,
        "num_worker_per_gpu": 0,
        "batch_size_per_gpu": 2,
    }
    return {**block, **changes}


def val_block(root: Path, **changes: object) -> dict[str, object]:
    """A validation block of ArbitraryScaleImageDataset."""
    block = {
        "name": "Photos",
        "type": "ArbitraryScaleImageDataset",
        "phase": "val",
        "dataroot_gt": str(root),
        "io_backend": {"type": "lmdb" if root.suffix == ".lmdb" else "disk"},
        "scales": [2, 3],
    }
    return {**block, **changes}


def paired_block(gt: Path | str, lq: Path | str, **changes: object) -> dict[str, object]:
    """A validation block of ArbitraryScalePairedDataset."""
    return val_block(Path(gt), type="ArbitraryScalePairedDataset", dataroot_lq=str(lq), **changes)


def paired_train_block(gt: Path | str, lq: Path | str, **changes: object) -> dict[str, object]:
    """A training block of ArbitraryScalePairedDataset."""
    block = train_block(Path(gt), type="ArbitraryScalePairedDataset", dataroot_lq=str(lq), scales=[2, 3])
    del block["scale_range"]
    return {**block, **changes}


def refused(call: Callable[[], Any], *parts: str) -> None:
    """Check that the call raises a LIIFError of one line that contains all parts."""
    with pytest.raises(LIIFError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    for part in parts:
        assert part in line, line


def build(block: dict[str, Any]) -> Any:
    """Build the dataset of a block."""
    return DATASETS[block["type"]](block)
