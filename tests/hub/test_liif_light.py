"""The bundled model is the one that its card tells of."""
import hashlib

import numpy as np
import pytest
import skimage
import torch
from PIL import Image

import liif_basicsr
from liif_basicsr.hub import checkpoint, find
from liif_basicsr.metrics.psnr_liif import calculate_psnr_liif

SHA256 = "2f92e39c1b38ac3d4b6838c73e62daac4dc0b28ea234ba94fd3060c67442fe13"


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255


def test_the_file_is_the_one_that_was_measured_and_small():
    content = find("liif-light").read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256
    assert len(content) <= 4e6


def test_it_tells_its_options_and_its_training():
    data = checkpoint.read(find("liif-light"))
    assert data["network_g"]["encoder"] == {"type": "EDSR", "num_feat": 48, "num_block": 20}
    assert "iterations" in data["about"]
    assert sum(p.numel() for p in liif_basicsr.load("liif-light").parameters()) == 942_835


@pytest.mark.parametrize(
    ("name", "psnr", "psnr_bicubic"), [("chelsea.png", 31.66, 30.85), ("coffee.png", 36.04, 31.44)]
)
def test_its_scores_on_two_photographs_are_those_measured(name, psnr, psnr_bicubic):
    gt = Image.open(f"{skimage.__path__[0]}/data/{name}").convert("RGB").crop((100, 60, 340, 240))
    low = gt.resize((80, 60), Image.Resampling.BICUBIC)
    ours = liif_basicsr.load("liif-light").render(to_tensor(low), (180, 240))
    bicubic = to_tensor(low.resize(gt.size, Image.Resampling.BICUBIC))
    scores = [calculate_psnr_liif(image, to_tensor(gt), 3, True) for image in (ours, bicubic)]
    assert scores == pytest.approx([psnr, psnr_bicubic], abs=0.02)
