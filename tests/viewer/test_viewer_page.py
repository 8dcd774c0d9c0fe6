"""The viewer's page in a real browser: drag, zoom, compare and save, without requests to any other host."""
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from browser import browser, decoded, drag, element, method, tiles, wait_until, wheel, without_overlays
from conftest import ROOT
from experiment import NETWORK, make_images
from PIL import Image

import liif_basicsr
from liif_basicsr.archs import build_network
from liif_basicsr.hub import BUNDLED, checkpoint

SIZE = (60, 80)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an image of an odd name and a network."""
    folder = tmp_path_factory.mktemp("view")
    make_images(folder / "made", 1, SIZE)
    (folder / "made" / "p0.png").rename(folder / "<b>ä 1.png")
    torch.manual_seed(0)
    net = build_network(NETWORK)
    checkpoint.save(folder / "net.pth", {"params": net.state_dict(), "network_g": NETWORK})
    return folder


@pytest.fixture(scope="module")
def url(folder):
    """The address of the page, from the command as a person runs it; Ctrl-C ends it with status 0."""
    command = [sys.executable, "-m", "liif_basicsr", "view", folder / "<b>ä 1.png", "--model", folder / "net.pth"]
    with subprocess.Popen([*command, "--no-browser"], cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        try:
            yield re.match(r"http://127\.0\.0\.1:\d+/\S+/", process.stdout.readline())[0]
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(60)
    assert status == 0


@pytest.fixture
def page(request, url, tmp_path):
    """The page with its first view decoded; the parameter is the number of device pixels per CSS pixel."""
    with browser(tmp_path, getattr(request, "param", 1)) as driver:
        driver.get(url)
        decoded(driver)
        yield driver


def zoom_factor(page):
    return float(element(page, "zoom").text.removeprefix("×"))


def expected(page, folder, shape):
    """What the screen must show at the places of the tiles, from the network and from Pillow."""
    image = Image.open(folder / "<b>ä 1.png")
    net = liif_basicsr.load(folder / "net.pth")
    lq = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    screen = np.full(shape, 0x1B, np.uint8)
    split = round(shape[1] * float(element(page, "divider").get_attribute("value")) / 100)
    for side, seen in {"left": slice(0, split), "right": slice(split, None)}.items():
        (level, row, col), (left, top, _) = next(iter(tiles(page, side).items()))
        height, width = (int(np.ceil(n * 2 ** (level / 4) - 1e-6)) for n in lq.shape[2:])
        if side == "left":
            whole = net.render(lq, (height, width))[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        else:
            whole = np.array(image.resize((width, height), Image.Resampling.BICUBIC))
        y, x = round(top * page.density) - 256 * row, round(left * page.density) - 256 * col
        plane = np.full(shape, 0x1B, np.uint8)
        part = whole[max(0, -y) : shape[0] - y, max(0, -x) : shape[1] - x]
        plane[max(0, y) : max(0, y) + part.shape[0], max(0, x) : max(0, x) + part.shape[1]] = part
        screen[:, seen] = plane[:, seen]
    return screen


@pytest.mark.parametrize("page", [1, 2], ids=["screen", "fine-screen"], indirect=True)
def test_drag_zoom_compare_and_save_show_the_rendered_pixels(page, folder, tmp_path):
    # zoom: the wheel, and the button
    first = zoom_factor(page)
    wheel(page, -400)
    decoded(page)
    by_wheel = zoom_factor(page)
    assert by_wheel > first > 1
    page.find_element("class name", "leaflet-control-zoom-in").click()
    decoded(page)
    assert zoom_factor(page) == pytest.approx(by_wheel * 2**0.5, rel=0.01)
    for place in (*tiles(page, "left").values(), *tiles(page, "right").values()):
        assert place[2] == 256 / page.density  # a pixel of a tile is a pixel of the screen

    # drag: the tiles move along
    before = tiles(page, "left")
    drag(page, "map", (-90, 60))
    decoded(page)
    after = tiles(page, "left")
    both = before.keys() & after.keys()
    assert both and all(after[k][:2] == [before[k][0] - 90, before[k][1] + 60] for k in both)

    # compare: the divider is dragged
    drag(page, "divider", (-200, 0))
    decoded(page)
    share = float(element(page, "divider").get_attribute("value"))
    assert share == pytest.approx(50 - 100 * 200 / page.execute_script("return innerWidth"), abs=0.5)
    chosen = [method(page, side).first_selected_option.text for side in ("left", "right")]
    assert chosen == ["net", "bicubic"]

    # save
    element(page, "save").click()
    factor = element(page, "zoom").text.removeprefix("×")
    wait_until(lambda: list((tmp_path / "saved").glob("*.png")))
    (path,) = (tmp_path / "saved").glob("*.png")
    assert path.name.endswith(f"ä 1-x{factor}.png")
    saved, screen = np.array(Image.open(path).convert("RGB")), without_overlays(page)
    assert np.array_equal(saved, screen)
    difference = np.abs(saved.astype(int) - expected(page, folder, saved.shape))
    assert (difference > 2).any(2).mean() < 2e-3  # the column where both sides meet

    # offline: all requests go to the server, and the browser logs no errors
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    requested = [url for url in asked if url.startswith(("http", "ws", "ftp"))]
    assert requested and all(url.startswith(page.current_url) for url in requested)
    assert page.get_log("browser") == []


def test_the_whole_image_is_shown_and_nothing_beyond_it(page, folder):
    screen = without_overlays(page).astype(int)
    assert (screen[[0, -1]] == 0x1B).all()
    assert (np.abs(screen - expected(page, folder, screen.shape)) > 2).any(2).mean() < 2e-3


@pytest.mark.parametrize("page", [1, 1.5], ids=["screen", "odd-screen"], indirect=True)
def test_the_last_level_shows_a_pixel_per_tile_without_seams(page):
    button = page.find_element("class name", "leaflet-control-zoom-in")
    while "leaflet-disabled" not in button.get_attribute("class"):
        button.click()
        time.sleep(0.3)
    decoded(page)
    assert zoom_factor(page) == 256
    assert element(page, "size").text == f"{SIZE[1] * 256} × {SIZE[0] * 256}"
    drag(page, "map", (-91, 61))  # so that tiles begin between device pixels of the odd screen
    decoded(page)
    screen = without_overlays(page).astype(int)
    middle = screen.shape[1] // 2  # where both sides meet
    for part in (screen[:, : middle - 2], screen[:, middle + 2 :]):
        assert max(np.abs(np.diff(part, axis=0)).max(), np.abs(np.diff(part, axis=1)).max()) <= 6


def test_all_bundled_models_are_offered_beside_the_one_that_is_named(page):
    for side in ("left", "right"):
        assert [option.text for option in method(page, side).options] == ["net", *BUNDLED, "bicubic"]


def test_the_name_is_shown_as_text(page):
    assert page.title == element(page, "name").text == "<b>ä 1.png"
