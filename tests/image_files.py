"""A tiny network in a file, and images of every kind, for tests of upscaling."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from liif_basicsr.__main__ import main
from liif_basicsr.archs import build_network
from liif_basicsr.hub import checkpoint

NETWORK = {
    "type": "LIIF",
    "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1},
    "hidden_dims": [8],
    "input_skip": "bilinear",
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a deterministic network that changes an image slightly."""
    torch.manual_seed(0)
    net = build_network(NETWORK)
    path = tmp_path_factory.mktemp("model") / "tiny.pth"
    checkpoint.save(path, {"params": net.state_dict(), "network_g": NETWORK})
    return path


@pytest.fixture
def upscale(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command in tmp_path, on the CPU, in float32."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> int:
        return main(["upscale", "--model", str(model), "--device", "cpu", "--precision", "float32", *words])

    return run


def ramp(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """Return smooth pixels (height, width, channels), each channel with its own slope, far from black and white."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [0.25 + ((c + 1) * y + (4 - c) * x) / (10 * (height + width)) for c in range(channels)]
    return (np.stack(planes, -1) * np.iinfo(dtype).max).astype(dtype)


def image(mode: str, height: int = 12, width: int = 17) -> Image.Image:
    """A ramp as a Pillow image of any mode."""
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
    if mode == "I;16":
        return Image.fromarray(ramp(height, width, 1, np.uint16)[..., 0])
    if mode in channels:
        pixels = ramp(height, width, channels[mode])
        return Image.fromarray(pixels[..., 0] if mode == "L" else pixels)
    return image("RGB", height, width).convert(mode)


def exif_of(description: str, orientation: int = 1) -> Image.Exif:
    """EXIF with a text, an orientation, an exposure time, a resolution and a GPS position."""
    exif = Image.Exif()
    exif[0x010E] = description
    exif[0x0112] = orientation
    exif[0x8769] = {0x829A: 0.008, 0xA002: 17, 0xA003: 12, 0x9003: "2024:05:06 07:08:09"}
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 14.0)}
    return exif


def save(folder: Path, name: str, write: Callable[[Path], object]) -> Path:
    """A file of `name` in the folder, written by `write`."""
    path = folder / name
    write(path)
    return path
