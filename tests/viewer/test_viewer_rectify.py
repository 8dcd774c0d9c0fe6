"""The viewer saves rectified regions as `warp --quad` does, and shows reduced previews."""
import io

import numpy as np
import pytest
from image_files import SRGB, model, ramp
from PIL import Image

from liif_basicsr.__main__ import main
from liif_basicsr.hub.checkpoint import load
from liif_basicsr.images.reading import from_image, read, to_srgb
from liif_basicsr.viewer import rectify
from liif_basicsr.viewer.rectify import Rectifier, Region
from liif_basicsr.viewer.tiles import Tiles

__all__ = ["model"]

QUAD = [(5, 3.25), (52, 6), (57, 37), (-2, 35.5)]


def make(source, model):
    return Rectifier(Tiles(to_srgb(source), {"tiny": load(model)}), source)


@pytest.mark.parametrize("channels, dtype", [(3, np.uint8), (1, np.uint16), (4, np.uint8)])
@pytest.mark.parametrize("scale", [1, 1.5])
def test_saved_files_equal_the_command(model, tmp_path, channels, dtype, scale):
    pixels = ramp(44, 60, channels, dtype)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    image.save(tmp_path / "in.png", icc_profile=SRGB if channels > 1 else None)
    with open(tmp_path / "mine.png", "wb") as file:
        make(read(tmp_path / "in.png"), model).save(Region(0, QUAD, scale), file, lambda count: None)
    quad = ["--quad", *(f"{x},{y}" for x, y in QUAD), "--scale", str(scale)]
    assert main(["warp", str(tmp_path / "in.png"), str(tmp_path / "out.png"), *quad, "--model", str(model)]) == 0
    assert (tmp_path / "mine.png").read_bytes() == (tmp_path / "out.png").read_bytes()


def pixels_of(content):
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def saved(rectifier, region):
    file = io.BytesIO()
    rectifier.save(region, file, lambda count: None)
    return pixels_of(file.getvalue())


@pytest.mark.parametrize("left, top", [(0, 0), (200, 150)])  # at the image's corner and elsewhere
def test_small_previews_equal_the_saved_region(model, left, top):
    rectifier = make(from_image(Image.fromarray(ramp(300, 400))), model)
    region = Region(0, [(x + left, y + top) for x, y in QUAD], 2)
    preview = pixels_of(rectifier.preview(region, lambda count: None))
    difference = np.abs(preview - saved(rectifier, region))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01


@pytest.mark.parametrize("most", [1600, 400])
def test_previews_of_large_regions_are_reduced(model, monkeypatch, most):
    monkeypatch.setattr(rectify, "MAX_PREVIEW", most)
    rectifier = make(from_image(Image.fromarray(ramp(300, 400))), model)
    region = Region(0, [(70, 30), (351, 42), (340, 260), (20, 290)], 1)
    preview = pixels_of(rectifier.preview(region, lambda count: None))
    assert most * 0.8 < preview.shape[0] * preview.shape[1] <= most
    whole = Image.fromarray(saved(rectifier, region).astype(np.uint8))
    reduced = np.asarray(whole.resize(preview.shape[1::-1], Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(preview - reduced)[1:-1, 1:-1].max() <= 2


def test_beyond_the_image_the_region_is_black(model):
    rectifier = make(from_image(Image.fromarray(ramp(44, 60))), model)
    preview = pixels_of(rectifier.preview(Region(0, [(100, 0), (120, 0), (120, 20), (100, 20)], 1), lambda count: None))
    assert preview.shape == (21, 21, 3) and not preview.any()


def test_regions_larger_than_memory_are_reported(model, monkeypatch):
    monkeypatch.setattr("liif_basicsr.rendering.memory.available", lambda: 1000)
    rectifier = make(from_image(Image.fromarray(ramp(44, 60))), model)
    with pytest.raises(rectify.LIIFError, match="rectangle: the output does not fit into memory"):
        rectifier.save(Region(0, QUAD, 1), io.BytesIO(), lambda count: None)
