"""Four corners picked with the mouse are rectified, previewed and saved."""
import numpy as np
import pytest
from browser import chromium, element, open_page, page, press, serving, wait_until
from image_files import model, ramp
from PIL import Image
from selenium.webdriver import ActionChains

from liif_basicsr.__main__ import main
from liif_basicsr.hub.checkpoint import load
from liif_basicsr.images.reading import read, to_srgb
from liif_basicsr.viewer.tiles import Tiles

__all__ = ["chromium", "model", "page"]

# Points on the screen in CSS pixels, clockwise from the top left.
PLACES = [(200, 150), (460, 180), (480, 480), (180, 450)]


@pytest.fixture
def photo(page, model, tmp_path):
    """The page of a photo. The photo has EXIF data and is in tmp_path."""
    exif = Image.Exif()
    exif[0x010E] = "a test"
    Image.fromarray(ramp(90, 120)).save(tmp_path / "photo.jpg", exif=exif)
    source = read(tmp_path / "photo.jpg")
    with serving(Tiles(to_srgb(source), {"tiny": load(model)}), source) as (server, _):
        open_page(page, server.url)
        yield page


def click(page, place):
    body = page.find_element("tag name", "body")
    x, y = place[0] - body.size["width"] / 2, place[1] - body.size["height"] / 2
    ActionChains(page, 0).move_to_element_with_offset(body, round(x), round(y)).click().perform()


def pick(page, places=PLACES):
    for place in places:
        click(page, place)


def said(page):
    return element(page, "region-status").text


def rectified(page):
    """Wait for the preview, and return its size (W, H)."""
    wait_until(lambda: element(page, "save-region").is_enabled())
    return tuple(page.execute_script("const p = document.getElementById('preview');"
                                     "return [p.naturalWidth, p.naturalHeight]"))  # fmt: skip


def corners(page):
    """Return the corners that the page shows, as arguments of the command."""
    option, *places, model_option, model = element(page, "corners").text.split()
    assert (option, model_option, model) == ("--quad", "--model", "tiny")
    return places


def pixel_at(page, place):
    """Return the image's (x, y) at a point on the screen, with pixel centers at integers."""
    left, top, scale = page.execute_script("return [...viewer.view.origin, viewer.view.scale]")
    return [(place[0] - left) / scale - 0.5, (place[1] - top) / scale - 0.5]


def save(page, tmp_path):
    element(page, "save-region").click()
    path = tmp_path / "saved" / "photo-rectified.png"
    wait_until(path.exists)
    wait_until(lambda: said(page) == "")
    return path.read_bytes()


def outlined(page):
    """Return the number of points of the outline and the number of handles."""
    points = page.find_element("css selector", "#outline polygon").get_attribute("points")
    return len(points.split()), len(page.find_elements("class name", "corner"))


def test_regions_are_saved_as_by_the_command(photo, model, tmp_path):
    page = photo
    element(page, "rectify").click()
    for place, name in zip(PLACES, ("top left", "top right", "bottom right", "bottom left"), strict=True):
        assert said(page) == f"click the {name} corner"
        click(page, place)
    size = rectified(page)
    assert outlined(page) == (4, 4)
    picked = [[float(n) for n in corner.split(",")] for corner in corners(page)]
    assert np.allclose(picked, [pixel_at(page, place) for place in PLACES], atol=0.02)

    command = ["warp", str(tmp_path / "photo.jpg"), str(tmp_path / "out.png"), "--quad", *corners(page)]
    assert main([*command, "--model", str(model)]) == 0
    assert save(page, tmp_path) == (tmp_path / "out.png").read_bytes()
    with Image.open(tmp_path / "out.png") as written:
        assert written.size == size

    # Drag a corner, then change the scale.
    handle = page.find_elements("class name", "corner")[2]
    ActionChains(page, 0).drag_and_drop_by_offset(handle, -70, -40).perform()
    assert rectified(page) != size
    moved = [float(n) for n in corners(page)[2].split(",")]
    assert np.allclose(moved, pixel_at(page, (PLACES[2][0] - 70, PLACES[2][1] - 40)), atol=0.02)
    once = rectified(page)
    page.find_element("css selector", "#scale option:nth-child(3)").click()
    wait_until(lambda: rectified(page) == (2 * once[0], 2 * once[1]))
    assert page.get_log("browser") == []


def test_crossing_corners_are_reported_and_can_be_corrected(photo):
    page = photo
    press(page, "r")
    pick(page, [PLACES[0], PLACES[1], PLACES[3], PLACES[2]])
    wait_until(lambda: said(page).startswith("quad: the sides cross"))
    assert not element(page, "save-region").is_enabled() and outlined(page) == (4, 4)
    handles = page.find_elements("class name", "corner")
    ActionChains(page, 0).drag_and_drop_by_offset(handles[2], 300, 30).perform()
    ActionChains(page, 0).drag_and_drop_by_offset(handles[3], -300, -30).perform()
    rectified(page)
    assert said(page) == "" and outlined(page) == (4, 4)


@pytest.mark.parametrize("count", [2, 4])
def test_escape_removes_the_corners(photo, count):
    page = photo
    element(page, "rectify").click()
    pick(page, PLACES[:count])
    assert element(page, "region").is_displayed()
    press(page, "Escape")
    assert not element(page, "region").is_displayed() and outlined(page) == (0, 0)
    pick(page)
    assert outlined(page) == (0, 0)
    press(page, "r")
    pick(page)
    rectified(page)
    assert outlined(page) == (4, 4)
