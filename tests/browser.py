"""Helpers for tests of the viewer's page in a real browser."""
import base64
import io
import shutil
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from liif_basicsr.images.reading import from_image
from liif_basicsr.viewer.server import ImagePage, Server
from liif_basicsr.viewer.tiles import STEPS

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
Select = pytest.importorskip("selenium.webdriver.support.ui").Select
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
if not CHROMIUM or not DRIVER:
    pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver", allow_module_level=True)

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
BACKGROUND = 0x1B


@contextmanager
def serving(tiles, source=None, path="photo.png", **more):
    """Serve tiles in a thread. Yield the server and a function that stops it as if it were killed."""
    with Server(ImagePage(tiles, source or from_image(tiles.image), path, **more)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def stop():
            server.shutdown()
            server.socket.close()

        try:
            yield server, stop
        finally:
            stop()
            thread.join()


@contextmanager
def browser(folder, window=(900, 700), logs=True):
    """Start a browser whose downloads go to `folder / "saved"`.

    Args:
        logs: keep the browser's log and its requests, which slows each request down.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}", f"--window-size={window[0]},{window[1]}"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "saved")})
    if logs:
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def resize(page, width, height, density=1.0):
    """Set the size of the window in CSS pixels, and the number of device pixels per CSS pixel."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": density, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def open_page(page, url):
    """Load the page, even if only its fragment differs, and wait for its tiles."""
    page.get("about:blank")
    page.get(url)
    decoded(page)


def element(page, name):
    return page.find_element("id", name)


def status(page):
    return element(page, "status").text


def method(page, side):
    """Return the menu of upscaling methods on the left or right side."""
    return Select(element(page, side).find_element("tag name", "select"))


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def decoded(page):
    """Wait until all tiles have arrived and are drawn."""
    script = """const done = arguments[0];
        const look = () => (typeof viewer !== "undefined" && viewer && viewer._frame === null
            && viewer.sides.every(({ loading }) => !loading))
            ? requestAnimationFrame(() => done()) : requestAnimationFrame(look);
        look();"""
    page.execute_async_script(script)


def tiles(page, side):
    """Return the arrived tiles on the screen: {(level, row, col): (left, top, width)} in device pixels."""
    script = """return viewer.sides[arguments[0]].arrived().map(({ level, place, box }) => [level, place, box])"""
    found = page.execute_script(script, ["left", "right"].index(side))
    return {
        (level, *map(int, place.split(","))): (left, top, right - left)
        for level, place, (left, top, right, _) in found
    }


def factor(page):
    return float(element(page, "zoom").text.removeprefix("×"))


def level(page):
    return round(STEPS * np.log2(page.execute_script("return viewer.view.scale")))


def wheel(page, delta, place=(450, 300)):
    page.execute_script("document.getElementById('map').dispatchEvent(new WheelEvent('wheel', {deltaY: arguments[0],"
                        " clientX: arguments[1], clientY: arguments[2], bubbles: true, cancelable: true}))",
                        delta, *place)  # fmt: skip


def press(page, key):
    """Send a key to the page."""
    page.execute_script("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true,"
                        " cancelable: true}))", key)  # fmt: skip


def drag(page, name, by):
    start = (0, 100) if name == "map" else (0, 0)  # from the center of the element; on the map, below the divider
    actions = webdriver.ActionChains(page, 0).move_to_element_with_offset(element(page, name), *start)
    actions.click_and_hold().move_by_offset(*by).release().perform()


def screenshot(page):
    """Return the page as pixels (H, W, 3) uint8. `save_screenshot` may differ by the window's frame."""
    shot = page.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    return np.array(Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB"))


def without_overlays(page):
    """Return a screenshot of the image alone."""
    overlays = "document.querySelectorAll('#line, #divider, #top, #bottom')"
    page.execute_script(f"for (const e of {overlays}) e.style.display = 'none'")
    pixels = screenshot(page)
    page.execute_script(f"for (const e of {overlays}) e.style.display = ''")
    return pixels


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """One browser for all tests of a file: it takes seconds to start."""
    with browser(tmp_path_factory.mktemp("browser")) as driver:
        driver.set_script_timeout(60)
        yield driver


@pytest.fixture
def page(chromium, tmp_path):
    """The browser with an empty page of 900x700, an empty log, and downloads in `tmp_path / "saved"`."""
    resize(chromium, 900, 700)
    folder = {"behavior": "allow", "downloadPath": str(tmp_path / "saved")}
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", folder)
    for log in ("browser", "performance"):
        chromium.get_log(log)
    yield chromium
    chromium.get("about:blank")
