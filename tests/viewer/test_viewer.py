"""The viewer's tiles equal the network's output at any zoom level."""
import io
import math

import numpy as np
import pytest
import torch
from experiment import NETWORK
from PIL import Image

from liif_basicsr.archs import build_network
from liif_basicsr.devices import autocast, on_threads
from liif_basicsr.errors import LIIFError
from liif_basicsr.viewer.tiles import MAX_LEVEL, OVERVIEW, TILE, Tiles, detailed_spot

SHUFFLE = {"type": "ContinuousShuffleSR", "encoder": NETWORK["encoder"]}


def make_tiles(height=70, width=100, network=NETWORK):
    torch.manual_seed(0)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Tiles(Image.fromarray(noise), {"mine": build_network(network).eval()})


def pixels_of(tiles, *key):
    """Return one tile, (TILE, TILE, 4) uint8."""
    return np.frombuffer(tiles.rgba(*key), np.uint8).reshape(TILE, TILE, 4)


def rendered(tiles, level, precision):
    """Return the whole image at a level, rendered by the network, (H, W, 3) uint8."""
    torch.manual_seed(0)
    lq = torch.from_numpy(np.array(tiles.image)).permute(2, 0, 1)[None] / 255
    with autocast(torch.device("cpu"), precision):
        whole = build_network(NETWORK).eval().render(lq, tiles.size(level))[0].float()
    return whole.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()


def assembled(tiles, method, level):
    """Return the whole image at a level, assembled from its tiles, (H, W, 4) uint8."""
    rows, cols = (math.ceil(n / TILE) for n in tiles.size(level))
    whole = Image.new("RGBA", (cols * TILE, rows * TILE))
    for row in range(rows):
        for col in range(cols):
            assert tiles.has(level, row, col)
            whole.paste(Image.fromarray(pixels_of(tiles, method, 100, level, row, col)), (col * TILE, row * TILE))
    assert not tiles.has(level, rows, 0) and not tiles.has(level, 0, cols)
    height, width = tiles.size(level)
    beyond = np.array(whole)
    assert not beyond[height:, :, 3].any() and not beyond[:, width:, 3].any()
    return beyond[:height, :width]


@pytest.mark.parametrize("network, decoding", [(NETWORK, 2), (SHUFFLE, 1)], ids=["LIIF", "ContinuousShuffleSR"])
def test_all_threads_encode_and_one_decodes_if_that_is_enough(network, decoding):
    tiles, used = make_tiles(network=network), []
    net = tiles.networks["mine"]
    for part, name in ((net.encoder, "forward"), (net.decoder, "decode")):
        whole = getattr(part, name)
        setattr(part, name, lambda *args, whole=whole: used.append(torch.get_num_threads()) or whole(*args))
    with on_threads(2):
        tiles.rgba(0, 100, 2, 0, 0)
        assert torch.get_num_threads() == 2
    assert used == [2, decoding]


@pytest.mark.parametrize("level", [1, 4, 7])
def test_tiles_equal_the_rendered_image(level):
    tiles = make_tiles()
    pixels = assembled(tiles, 0, level)[..., :3].astype(int)
    for precision, most in (tiles.precision, 1e-3), ("float32", 0.1):  # some pixels are rounded differently
        difference = pixels - rendered(tiles, level, precision)
        assert np.abs(difference).max() <= 1
        assert np.mean(difference != 0) < most


@pytest.mark.parametrize("level", [-2, 0, 1, 4])
def test_bicubic_tiles_have_no_seams(level):
    tiles = make_tiles(300, 500)
    size = tiles.size(level)[::-1]
    whole = np.array(tiles.image.resize(size, Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(assembled(tiles, 1, level)[..., :3] - whole).max() <= 2  # Pillow rounds twice


def test_all_methods_return_the_image_up_to_level_0():
    tiles = make_tiles(300, 700)
    assert np.array_equal(assembled(tiles, 0, 0)[..., :3], np.array(tiles.image))
    for level in range(tiles.min_level, 0):
        assert np.array_equal(assembled(tiles, 0, level), assembled(tiles, 1, level))
    assert max(tiles.size(tiles.min_level)) <= TILE


def test_the_last_level_of_a_long_image_distinguishes_neighboring_pixels():
    tiles = make_tiles(1, 60000)
    assert tiles.max_level < MAX_LEVEL
    height, width = tiles.size(tiles.max_level)
    tile = pixels_of(tiles, 0, 100, tiles.max_level, 0, (width - 1) // TILE)
    row = tile[0, : (width - 1) % TILE + 1]
    assert len(np.unique(row, axis=0)) > len(row) // 4


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_thin_images_have_tiles_at_the_first_and_last_level(size):
    tiles = make_tiles(*size)
    for level in (tiles.min_level, tiles.max_level):
        for method in (0, 1):
            assert pixels_of(tiles, method, 100, level, 0, 0)[0, 0, 3] == 255


def test_tiles_of_several_networks():
    torch.manual_seed(0)
    nets = [build_network(NETWORK).eval() for _ in range(2)]
    image = make_tiles().image
    tiles = Tiles(image, {"first": nets[0], "second": nets[1]})
    assert tiles.methods == ["first", "second", "bicubic"]
    assert len({tiles.rgba(method, 100, 2, 0, 0) for method in range(3)}) == 3
    for method, net in enumerate(nets):
        assert tiles.rgba(method, 100, 2, 0, 0) == Tiles(image, {"alone": net}).rgba(0, 100, 2, 0, 0)


@pytest.mark.parametrize("size", [(30, 40), (1, 9000), (300, 5000)])
def test_the_overview_shows_the_whole_image_and_is_bounded(size):
    height, width = size
    ramp = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], (height, width, 3))
    tiles = Tiles(Image.fromarray(ramp.copy()), {"mine": build_network(NETWORK).eval()})
    overview = Image.open(io.BytesIO(tiles.overview()))
    assert overview.size == (width, height) or max(overview.size) == OVERVIEW
    expected = np.linspace(0, 255, overview.width)
    assert np.abs(np.array(overview.convert("L")).astype(float) - expected).max() < 4


def test_strength_mixes_with_the_clean_network():
    torch.manual_seed(0)
    networks = {name: build_network(NETWORK).eval() for name in ("photo", "clean")}
    tiles = Tiles(make_tiles().image, networks, clean="clean")
    assert [tiles.mixable(method) for method in range(3)] == [True, False, False]
    photo, clean = (pixels_of(tiles, method, 100, 2, 0, 0).astype(float) for method in (0, 1))
    assert np.abs(photo - clean).max() > 10
    for strength in (0, 25, 99):
        mixed = pixels_of(tiles, 0, strength, 2, 0, 0)
        assert np.abs(mixed - (clean + (photo - clean) * strength / 100)).max() <= 0.5
    assert np.array_equal(pixels_of(tiles, 0, 30, 0, 0, 0), pixels_of(tiles, 0, 100, 0, 0, 0))


@pytest.mark.parametrize("size", [(400, 300), (3000, 4000), (1, 500), (500, 1), (1, 1)])
def test_detailed_spot(size):
    height, width = size
    flat = np.full((height, width, 3), 128, np.uint8)
    x, y = detailed_spot(Image.fromarray(flat))
    assert abs(x - width / 2) <= max(1, width / 10) and abs(y - height / 2) <= max(1, height / 10)
    if min(size) >= 300:
        top, left = height // 8, width * 5 // 8
        noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3))
        flat[top : top + height // 8, left : left + width // 8] = noise
        x, y = detailed_spot(Image.fromarray(flat))
        assert left < x < left + width // 8 and top < y < top + height // 8


@pytest.mark.parametrize("channels", [{"num_in_ch": 1, "num_out_ch": 1}, {"num_out_ch": 1, "input_skip": None}])
def test_networks_of_other_channels_are_refused(channels):
    with pytest.raises(LIIFError, match="mine: maps . channels to 1, .* choose another model"):
        make_tiles(network={**NETWORK, **channels})
