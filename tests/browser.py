"""A real browser on the viewer's page, for the tests."""
import base64
import io
import re
import shutil
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from liif_basicsr.images.reading import from_image
from liif_basicsr.viewer.rectify import Rectifier
from liif_basicsr.viewer.server import Server

pytest.importorskip("js_lib_leaflet", reason="Leaflet is not installed: pip install 'liif_basicsr[view]'")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
Select = pytest.importorskip("selenium.webdriver.support.ui").Select
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
if not CHROMIUM or not DRIVER:
    pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver", allow_module_level=True)

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@contextmanager
def serving(tiles, source=None):
    """The address of a server of these tiles, in a thread; a function to stop it as if it were killed."""
    with Server(tiles, Rectifier(tiles, source or from_image(tiles.image)), "photo.png") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def stop():
            server.shutdown()
            server.socket.close()

        try:
            yield server.url, stop
        finally:
            stop()
            thread.join()


@contextmanager
def browser(folder, density=1, window=(900, 700), logs=True):
    """A browser of its own, with `density` device pixels per CSS pixel; downloads go to `folder / "saved"`.

    `logs`: it keeps what it logs and asks for, which slows each request.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}", f"--force-device-scale-factor={density}"]
    for flag in [*flags, f"--window-size={window[0]},{window[1]}"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "saved")})
    if logs:
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        driver.density = density
        yield driver
    finally:
        driver.quit()


def element(page, name):
    return page.find_element("id", name)


def status(page):
    return element(page, "status").text


def method(page, side):
    """The list in which the method of a side is chosen."""
    return Select(element(page, side).find_element("tag name", "select"))


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def decoded(page):
    """Wait until all tiles are there and nothing moves."""
    wait_until(lambda: element(page, "save").is_enabled())
    time.sleep(0.5)  # for Leaflet's animations, which may ask for tiles at their end
    wait_until(lambda: element(page, "save").is_enabled())


def tiles(page, side):
    """Tile to place: ((level, row, col) to (left, top, width) in CSS pixels) of the loaded tiles."""
    script = """return [...document.querySelectorAll('.leaflet-' + arguments[0] + '-pane .leaflet-tile-loaded')]
        .map(tile => [`${tile.dataset.level}/${tile.dataset.place}`, tile.getBoundingClientRect()])
        .map(([key, box]) => [key, box.left, box.top, box.width])"""
    return {tuple(map(int, re.split("[/,]", key)[1:])): place for key, *place in page.execute_script(script, side)}


def wheel(page, delta, place=(450, 300)):
    page.execute_script("document.getElementById('map').dispatchEvent(new WheelEvent('wheel', {deltaY: arguments[0],"
                        " clientX: arguments[1], clientY: arguments[2], bubbles: true, cancelable: true}))",
                        delta, *place)  # fmt: skip


def drag(page, name, by):
    start = (0, 100) if name == "map" else (0, 0)  # from the middle, where the divider's thumb is
    actions = webdriver.ActionChains(page).move_to_element_with_offset(element(page, name), *start).click_and_hold()
    actions.move_by_offset(*by).pause(0.5)
    actions.release().perform()  # after a pause, so that the map does not glide on


def without_overlays(page):
    """A screenshot of the map alone, (H, W, 3) uint8."""
    page.execute_script("""for (const e of document.querySelectorAll('#line, #divider, #bar, .label, .leaflet-control'))
        e.style.visibility = 'hidden'""")
    # The size of the page, where `save_screenshot` may differ by the window's frame.
    shot = page.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    page.execute_script("for (const e of document.querySelectorAll('*')) e.style.visibility = ''")
    return np.array(Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB"))
