"""The bundled models match their cards."""
import hashlib

import numpy as np
import pytest
import skimage
import torch
from PIL import Image

import liif_basicsr
from liif_basicsr.hub import BUNDLED, WEIGHTS, checkpoint, find
from liif_basicsr.metrics.psnr_liif import calculate_psnr_liif

SHA256 = {
    "liif-photo": "73a54913e536fd67aa27a71c0e5dc6b7e5d7153a3947fd7ba2162399b0e1191a",
    "liif-fast": "c1365e848e77d64125d568127140a9f303c47eb826c26b226c9b2d474982a946",
}


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("name", SHA256)
def test_file_has_the_measured_sha256_and_is_small(name):
    content = find(name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256[name]
    assert len(content) <= 14e6


@pytest.mark.parametrize(("name", "parameters"), [
    ("liif-photo", 5_478_864), ("liif-fast", 2_428_944),
])
def test_metadata_contains_card_license_and_network(name, parameters):
    data = checkpoint.read(find(name))
    assert data["card"] == (WEIGHTS / f"{name}.md").read_text(encoding="utf-8")
    assert data["license"] == BUNDLED[name].license
    assert sum(p.numel() for p in liif_basicsr.load(name).parameters()) == parameters


@pytest.mark.parametrize(
    ("model", "name", "psnr", "psnr_bicubic"),
    [
        ("liif-fast", "chelsea.png", 31.81, 30.85),
        ("liif-fast", "coffee.png", 36.84, 31.44),
    ],
)
def test_measured_psnr_on_two_photographs(model, name, psnr, psnr_bicubic):
    gt = Image.open(f"{skimage.__path__[0]}/data/{name}").convert("RGB").crop((100, 60, 340, 240))
    low = gt.resize((80, 60), Image.Resampling.BICUBIC)
    ours = liif_basicsr.load(model).render(to_tensor(low), (180, 240))
    bicubic = to_tensor(low.resize(gt.size, Image.Resampling.BICUBIC))
    scores = [calculate_psnr_liif(image, to_tensor(gt), 3, True) for image in (ours, bicubic)]
    assert scores == pytest.approx([psnr, psnr_bicubic], abs=0.02)
