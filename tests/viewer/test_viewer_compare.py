"""Each side of the viewer shows the method that is chosen for it."""
from itertools import product

import numpy as np
import pytest
import torch
from browser import browser, decoded, method, serving, tiles, wheel, without_overlays
from experiment import NETWORK
from PIL import Image
from test_viewer import pixels_of

from liif_basicsr.archs import build_network
from liif_basicsr.viewer.tiles import Tiles

NAMES = ["clean", "photo"]


@pytest.fixture
def made():
    torch.manual_seed(0)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    return Tiles(noise, {name: build_network(NETWORK).eval() for name in NAMES}, right="photo")


def assert_shown(page, made, side, number):
    """The tiles of a side are shown with the pixels of a method."""
    assert tiles(page, side)
    screen = without_overlays(page)
    middle = screen.shape[1] // 2
    columns = slice(0, middle - 2) if side == "left" else slice(middle + 2, screen.shape[1])
    for key, (left, top, _) in tiles(page, side).items():
        expected = np.full((*screen.shape[:2], 4), 0, np.uint8)
        tile = pixels_of(made, number, *key)
        y, x = max(0, round(top)), max(0, round(left))
        part = tile[y - round(top) :, x - round(left) :][: screen.shape[0] - y, : screen.shape[1] - x]
        expected[y : y + part.shape[0], x : x + part.shape[1]] = part
        seen = expected[:, columns, 3] > 0
        assert np.array_equal(screen[:, columns][seen], expected[:, columns, :3][seen])


def test_any_two_methods_are_compared(made, tmp_path):
    with serving(made) as (url, _), browser(tmp_path) as page:
        page.get(url)
        decoded(page)
        assert method(page, "right").first_selected_option.text == "photo"
        wheel(page, -400)
        decoded(page)
        for pair in product(range(3), repeat=2):
            for side, number in zip(("left", "right"), pair, strict=True):
                method(page, side).select_by_index(number)
            decoded(page)
            for side, number in zip(("left", "right"), pair, strict=True):
                assert_shown(page, made, side, number)
        assert page.get_log("browser") == []


def test_a_choice_below_level_0_counts_when_one_zooms_in(tmp_path):
    torch.manual_seed(0)
    large = Image.effect_noise((2400, 1800), 60).convert("RGB")
    made = Tiles(large, {name: build_network(NETWORK).eval() for name in NAMES})
    with serving(made) as (url, _), browser(tmp_path) as page:
        page.get(url)
        decoded(page)
        method(page, "right").select_by_visible_text("photo")
        for _ in range(3):
            wheel(page, -4000)
            decoded(page)
        assert min(level for level, _, _ in tiles(page, "right")) > 0
        assert_shown(page, made, "right", 1)
