"""The viewer's tiles are the network's pixels, at any zoom, of any image."""
import io
import math

import numpy as np
import pytest
import torch
from experiment import NETWORK
from PIL import Image

from liif_basicsr.archs import build_network
from liif_basicsr.utils.precision import autocast
from liif_basicsr.viewer.tiles import MAX_LEVEL, TILE, Tiles


def make_tiles(height=70, width=100):
    torch.manual_seed(0)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Tiles(Image.fromarray(noise), build_network(NETWORK).eval())


def rendered(tiles, level, precision):
    """The whole image at a level, by the network, (H, W, 3) uint8."""
    torch.manual_seed(0)
    lq = torch.from_numpy(np.array(tiles.image)).permute(2, 0, 1)[None] / 255
    with autocast(torch.device("cpu"), precision):
        whole = build_network(NETWORK).eval().render(lq, tiles.size(level))[0].float()
    return whole.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()


def assembled(tiles, method, level):
    """The whole image at a level, put together from its tiles, (H, W, 4) uint8."""
    rows, cols = (math.ceil(n / TILE) for n in tiles.size(level))
    whole = Image.new("RGBA", (cols * TILE, rows * TILE))
    for row in range(rows):
        for col in range(cols):
            assert tiles.has(level, row, col)
            whole.paste(Image.open(io.BytesIO(tiles.png(method, level, row, col))), (col * TILE, row * TILE))
    assert not tiles.has(level, rows, 0) and not tiles.has(level, 0, cols)
    height, width = tiles.size(level)
    beyond = np.array(whole)
    assert not beyond[height:, :, 3].any() and not beyond[:, width:, 3].any()
    return beyond[:height, :width]


@pytest.mark.parametrize("level", [1, 7, 13])
def test_tiles_are_the_pixels_of_the_network(level):
    tiles = make_tiles()
    pixels = assembled(tiles, "liif", level)[..., :3].astype(int)
    for precision, most in (tiles.precision, 1e-3), ("float32", 0.1):  # in which a last bit rounds to the other side
        difference = pixels - rendered(tiles, level, precision)
        assert np.abs(difference).max() <= 1
        assert np.mean(difference != 0) < most


@pytest.mark.parametrize("level", [-3, 0, 1, 7])
def test_bicubic_tiles_have_no_seams(level):
    tiles = make_tiles(300, 500)
    size = tiles.size(level)[::-1]
    whole = np.array(tiles.image.resize(size, Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(assembled(tiles, "bicubic", level)[..., :3] - whole).max() <= 2  # Pillow rounds twice


def test_level_0_is_the_image_and_below_it_both_methods_agree():
    tiles = make_tiles(300, 700)
    assert np.array_equal(assembled(tiles, "liif", 0)[..., :3], np.array(tiles.image))
    for level in range(tiles.min_level, 0):
        assert np.array_equal(assembled(tiles, "liif", level), assembled(tiles, "bicubic", level))
    assert max(tiles.size(tiles.min_level)) <= TILE


def test_the_deepest_tile_of_a_long_image_still_tells_pixels_apart():
    tiles = make_tiles(1, 60000)
    assert tiles.max_level < MAX_LEVEL
    height, width = tiles.size(tiles.max_level)
    tile = Image.open(io.BytesIO(tiles.png("liif", tiles.max_level, 0, (width - 1) // TILE)))
    row = np.array(tile)[0, : (width - 1) % TILE + 1]
    assert len(np.unique(row, axis=0)) > len(row) // 4


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_thin_images_have_tiles_at_both_ends_of_zoom(size):
    tiles = make_tiles(*size)
    for level in (tiles.min_level, tiles.max_level):
        for method in ("liif", "bicubic"):
            assert Image.open(io.BytesIO(tiles.png(method, level, 0, 0))).size == (TILE, TILE)
