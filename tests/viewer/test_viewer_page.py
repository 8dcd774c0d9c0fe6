"""The viewer's page in a real browser: drag, zoom, compare and save, with nothing asked of any other host."""
import base64
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import ROOT
from experiment import NETWORK, make_images
from PIL import Image

import liif_basicsr
from liif_basicsr.archs import build_network
from liif_basicsr.hub import checkpoint

pytest.importorskip("js_lib_leaflet", reason="Leaflet is not installed: pip install 'liif_basicsr[view]'")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
if not CHROMIUM or not DRIVER:
    pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver", allow_module_level=True)

SIZE = (60, 80)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=900,700"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An image with an odd name and a network."""
    folder = tmp_path_factory.mktemp("view")
    make_images(folder / "made", 1, SIZE)
    (folder / "made" / "p0.png").rename(folder / "<b>ä 1.png")
    torch.manual_seed(0)
    net = build_network(NETWORK)
    checkpoint.save(folder / "net.pth", {"params": net.state_dict(), "network_g": NETWORK})
    return folder


@pytest.fixture(scope="module")
def url(folder):
    """The page of the command as a person runs it, which Ctrl-C ends well."""
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
    """The page, its first view decoded, on a screen of so many pixels in a CSS pixel."""
    density = getattr(request, "param", 1)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = [*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", f"--force-device-scale-factor={density}"]
    for flag in flags:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "saved")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        driver.density = density
        driver.get(url)
        decoded(driver)
        yield driver
    finally:
        driver.quit()


def element(page, name):
    return page.find_element("id", name)


def wait_until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def decoded(page):
    """Wait until all tiles are there and nothing moves."""
    wait_until(lambda: element(page, "save").is_enabled())
    time.sleep(0.5)  # Leaflet's animations take a quarter of a second, and may ask for tiles at their end
    wait_until(lambda: element(page, "save").is_enabled())


def tiles(page, method):
    """Tile to place: ((level, row, col) to (left, top, width) in CSS pixels) of what is loaded."""
    script = """return [...document.querySelectorAll('.leaflet-' + arguments[0] + '-pane img.leaflet-tile-loaded')]
        .map(tile => [tile.src, tile.getBoundingClientRect()])
        .map(([src, box]) => [src, box.left, box.top, box.width])"""
    numbers = re.compile(r"/(-?\d+)/(\d+)/(\d+)\.png$")
    return {tuple(map(int, numbers.search(src).groups())): place for src, *place in page.execute_script(script, method)}


def zoom_factor(page):
    return float(element(page, "zoom").text.removeprefix("×"))


def drag(page, name, by):
    start = (0, 100) if name == "map" else (0, 0)  # from the middle, where the divider's thumb is
    actions = webdriver.ActionChains(page).move_to_element_with_offset(element(page, name), *start).click_and_hold()
    actions.move_by_offset(*by).pause(0.5)
    actions.release().perform()  # after a pause, so that the map does not glide on
    decoded(page)


def without_overlays(page):
    """The screen, (H, W, 3) uint8, of the map alone."""
    page.execute_script("""for (const e of document.querySelectorAll('#line, #divider, #bar, .label, .leaflet-control'))
        e.style.visibility = 'hidden'""")
    # The size of the page, where `save_screenshot` may differ by what the window's frame takes.
    shot = page.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    return np.array(Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB"))


def expected(page, folder, shape):
    """What the screen must show, from the network and from Pillow, where the tiles lie."""
    image = Image.open(folder / "<b>ä 1.png")
    net = liif_basicsr.load(folder / "net.pth")
    lq = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    screen = np.full(shape, 0x1B, np.uint8)
    split = round(shape[1] * float(element(page, "divider").get_attribute("value")) / 100)
    for method, seen in {"liif": slice(0, split), "bicubic": slice(split, None)}.items():
        (level, row, col), (left, top, _) = next(iter(tiles(page, method).items()))
        height, width = (int(np.ceil(n * 2 ** (level / 4) - 1e-6)) for n in lq.shape[2:])
        if method == "liif":
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
def test_drag_zoom_compare_and_save(page, folder, tmp_path):
    # zoom: the wheel, and the button
    first = zoom_factor(page)
    page.execute_script("document.getElementById('map').dispatchEvent(new WheelEvent('wheel', {deltaY: -400,"
                        " clientX: 450, clientY: 300, bubbles: true, cancelable: true}))")  # fmt: skip
    decoded(page)
    by_wheel = zoom_factor(page)
    assert by_wheel > first > 1
    page.find_element("class name", "leaflet-control-zoom-in").click()
    decoded(page)
    assert zoom_factor(page) == pytest.approx(by_wheel * 2**0.5, rel=0.01)
    for place in (*tiles(page, "liif").values(), *tiles(page, "bicubic").values()):
        assert place[2] == 256 / page.density  # a pixel of a tile is a pixel of the screen

    # drag: what was seen moves along
    before = tiles(page, "liif")
    drag(page, "map", (-90, 60))
    after = tiles(page, "liif")
    both = before.keys() & after.keys()
    assert both and all(after[k][:2] == [before[k][0] - 90, before[k][1] + 60] for k in both)

    # compare: the divider is taken and moved
    drag(page, "divider", (-200, 0))
    share = float(element(page, "divider").get_attribute("value"))
    assert share == pytest.approx(50 - 100 * 200 / page.execute_script("return innerWidth"), abs=0.5)
    assert element(page, "left").text == "LIIF" and element(page, "right").text == "bicubic"

    # save
    element(page, "save").click()
    factor = element(page, "zoom").text.removeprefix("×")
    wait_until(lambda: list((tmp_path / "saved").glob("*.png")))
    (path,) = (tmp_path / "saved").glob("*.png")
    assert path.name.endswith(f"ä 1-x{factor}.png")
    saved, screen = np.array(Image.open(path).convert("RGB")), without_overlays(page)
    assert np.array_equal(saved, screen)
    difference = np.abs(saved.astype(int) - expected(page, folder, saved.shape))
    assert (difference > 2).any(2).mean() < 2e-3  # of the column where both methods meet

    # offline: the page asks nobody but its server, and the browser has nothing to complain of
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    beyond_itself = [url for url in asked if url.startswith(("http", "ws", "ftp"))]
    assert beyond_itself and all(url.startswith(page.current_url) for url in beyond_itself)
    assert page.get_log("browser") == []


@pytest.mark.parametrize("page", [1, 1.5], ids=["screen", "odd-screen"], indirect=True)
def test_zoom_ends_where_a_pixel_fills_a_tile_and_no_seams_are_seen(page):
    button = page.find_element("class name", "leaflet-control-zoom-in")
    while "leaflet-disabled" not in button.get_attribute("class"):
        button.click()
        time.sleep(0.3)
    decoded(page)
    assert zoom_factor(page) == 256
    assert element(page, "size").text == f"{SIZE[1] * 256} × {SIZE[0] * 256}"
    drag(page, "map", (-91, 61))  # so that tiles begin between the odd screen's pixels
    screen = without_overlays(page).astype(int)
    middle = screen.shape[1] // 2  # where LIIF and bicubic meet
    for part in (screen[:, : middle - 2], screen[:, middle + 2 :]):
        assert max(np.abs(np.diff(part, axis=0)).max(), np.abs(np.diff(part, axis=1)).max()) <= 6


def test_a_name_is_text(page):
    assert page.title == element(page, "name").text == "<b>ä 1.png"
