"""The viewer's page while its server is busy, fails or no longer runs."""
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from browser import (
    chromium,
    decoded,
    drag,
    element,
    page,
    press,
    serving,
    status,
    tiles,
    wait_until,
    wheel,
    without_overlays,
)  # fmt: skip
from experiment import NETWORK
from PIL import Image

from liif_basicsr.archs import build_network
from liif_basicsr.viewer.tiles import Tiles

__all__ = ["chromium", "page"]

GONE = "the viewer does not answer; is it still running?"


class SlowTiles(Tiles):
    """Tiles that wait until `open` is set, and fail as long as `fails(key)` is true. `begun` lists (time, key)."""

    def __init__(self, height, width):
        torch.manual_seed(0)
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., 0] = 60 + np.arange(width) * 140 // width
        pixels[..., 1] = 200
        super().__init__(Image.fromarray(pixels), {"mine": build_network(NETWORK).eval()})
        self.open, self.begun, self.fails = threading.Event(), [], lambda key: False
        self.make = self.rgba

        def rgba(*key):
            self.begun.append((time.monotonic(), key))
            assert self.open.wait(60)
            if self.fails(key):
                raise ConnectionError("a test")
            return self.make(*key)

        self.rgba = rgba


@contextmanager
def serving_slowly(tiles):
    """Like `serving`, but at the end no tile is left waiting."""
    with serving(tiles) as both:
        try:
            yield both
        finally:
            tiles.open.set()


@pytest.fixture
def slow(page):
    """The page of an image of 300x400, before any tile has arrived."""
    tiles = SlowTiles(300, 400)
    with serving_slowly(tiles) as (server, stop):
        page.get(server.url)
        wait_until(lambda: page.execute_script("return Boolean(viewer)"))
        yield page, tiles, stop


def shows_the_image(page):
    """Return whether the middle of the screen has the image's colors: green is 200, red rises from left to right."""
    screen = without_overlays(page).astype(int)
    red, green, _ = screen[screen.shape[0] // 2, screen.shape[1] // 5 : -screen.shape[1] // 5].T
    return np.abs(green - 200).max() < 8 and (np.diff(red[::40]) > 0).all()


def test_the_stretched_image_is_shown_until_tiles_arrive(slow):
    page, made, _ = slow
    wait_until(lambda: shows_the_image(page), 10)
    assert not tiles(page, "left") and not tiles(page, "right")
    time.sleep(2)
    assert status(page) == "decoding…" and not element(page, "save-left").is_enabled()
    made.open.set()
    decoded(page)
    assert tiles(page, "left") and tiles(page, "right") and status(page) == ""


def test_a_failed_tile_is_requested_again_with_growing_pauses_and_delays_no_other(slow):
    page, made, _ = slow
    failed = []

    def fails(key):
        if key[0] or len(failed) == 3 or key not in (failed or [key]):
            return False
        failed.append(key)
        return True

    page.execute_script("PAUSE.first = 1000")  # long enough for all other tiles to arrive
    made.fails = fails
    made.open.set()
    decoded(page)
    assert status(page) == "" and len(set(failed)) == 1
    times = [time for time, key in made.begun if key == failed[0]]
    pauses = np.diff(times)
    assert len(times) == 4 and (pauses > 0.4).all() and pauses[-1] > 1.5 * pauses[0]
    others = {key: time for time, key in reversed(made.begun) if key != failed[0]}  # time of the first attempt
    assert len(others) > 8 and max(others.values()) < times[1]


def test_a_late_tile_is_requested_again(slow):
    page, made, _ = slow
    page.execute_script("PATIENCE.first = 200")
    wheel(page, -400)  # requests for the new tiles use that patience
    asked = "return performance.getEntriesByType('resource').filter(({name}) => name.includes('tiles/')).length"
    held = len(made.begun)
    wait_until(lambda: page.execute_script(asked) > held + 8)
    made.open.set()
    decoded(page)
    assert tiles(page, "left")


def test_only_a_stopped_server_is_reported(slow):
    page, made, stop = slow
    made.fails = lambda key: True
    made.open.set()
    wait_until(lambda: len(made.begun) > 6)
    assert status(page) == "decoding…"
    stop()
    wait_until(lambda: status(page) == GONE)
    assert shows_the_image(page)


def test_tiles_that_have_left_the_screen_are_abandoned(page):
    made = SlowTiles(3000, 4000)
    with serving_slowly(made) as (server, _):
        page.get(server.url)
        wait_until(lambda: len(made.begun) == 2)  # all other tiles wait for these two, one of each side
        wheel(page, -600)
        for _ in range(2):
            drag(page, "map", (-300, -250))
        time.sleep(0.5)
        made.open.set()
        decoded(page)
        on_screen = {*tiles(page, "left"), *tiles(page, "right")}
        begun = {key[2:] for _, key in made.begun[2:]}
        assert begun <= on_screen and len(begun) > 4


def test_up_to_level_0_both_sides_share_their_tiles(page):
    made = SlowTiles(3000, 4000)
    made.open.set()
    with serving_slowly(made) as (server, _):
        page.get(server.url)
        decoded(page)
        made.begun.clear()
        misses = made.make.cache_info().misses
        press(page, "0")
        decoded(page)
        assert {*tiles(page, "left")} | {*tiles(page, "right")} == {key[2:] for _, key in made.begun}
        assert {key[0] for _, key in made.begun} == {1}
        assert made.make.cache_info().misses - misses == len({key for _, key in made.begun}) > 4
