"""The viewer's page in a real browser: the pixels on the screen, the controls, and no requests to other hosts."""
import json
import re
import shlex
import signal
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from browser import (
    BACKGROUND,
    chromium,
    decoded,
    drag,
    element,
    factor,
    level,
    method,
    open_page,
    page,
    press,
    resize,
    screenshot,
    serving,
    status,
    tiles,
    wait_until,
    wheel,
    without_overlays,
)  # fmt: skip
from conftest import ROOT
from experiment import NETWORK, make_images
from PIL import Image
from test_viewer import pixels_of

import liif_basicsr
from liif_basicsr.__main__ import main
from liif_basicsr.archs import build_network
from liif_basicsr.hub import BUNDLED, CLEAN, checkpoint
from liif_basicsr.viewer.server import ImagePage
from liif_basicsr.viewer.tiles import TILE, Tiles

__all__ = ["chromium", "page"]

SIZE = (60, 80)
NAME = "<b>ä 1.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a network, and an image with an unusual name."""
    folder = tmp_path_factory.mktemp("view")
    make_images(folder / "made", 1, SIZE)
    (folder / "made" / "p0.png").rename(folder / NAME)
    torch.manual_seed(0)
    net = build_network(NETWORK)
    checkpoint.save(folder / "net.pth", {"params": net.state_dict(), "network_g": NETWORK})
    return folder


@pytest.fixture(scope="module")
def url(folder):
    """The address of the page, served by the command as a user runs it. Ctrl-C ends the command with status 0."""
    command = [sys.executable, "-m", "liif_basicsr", "view", folder / NAME, "--model", folder / "net.pth"]
    with subprocess.Popen([*command, "--no-browser"], cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        try:
            yield re.match(r"http://127\.0\.0\.1:\d+/\S+/", process.stdout.readline())[0]
        finally:
            process.send_signal(signal.SIGINT)
            exit_status = process.wait(60)
    assert exit_status == 0


@pytest.fixture
def made():
    """Tiles of a noise image by two networks. `clean` is mixed into the other one."""
    torch.manual_seed(0)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, SIZE + (3,), dtype=np.uint8))
    networks = {name: build_network(NETWORK).eval() for name in ("photo", "clean")}
    return Tiles(noise, networks, right="clean", clean="clean")


def large(height=1800, width=2400):
    """Tiles of a smooth image with a detailed patch, larger than the screen."""
    torch.manual_seed(0)
    pixels = np.full((height, width, 3), 128, np.uint8)
    pixels[300:500, 1800:2000] = np.random.default_rng(0).integers(0, 256, (200, 200, 3))
    return Tiles(Image.fromarray(pixels), {"mine": build_network(NETWORK).eval()})


def expected(page, folder):
    """Return the expected pixels of the screen: the network's on the left, Pillow's on the right."""
    image = Image.open(folder / NAME)
    net = liif_basicsr.load(folder / "net.pth")
    lq = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    script = "const { width, height, origin } = viewer.view; return [width, height, origin]"
    width, height, (left, top) = page.execute_script(script)
    screen = np.full((height, width, 3), BACKGROUND, np.uint8)
    split = round(width * float(element(page, "divider").get_attribute("value")) / 100)
    size = [int(np.ceil(n * 2 ** (level(page) / 2) - 1e-6)) for n in SIZE]
    network = net.render(lq, size)[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    bicubic = np.array(image.resize(size[::-1], Image.Resampling.BICUBIC))
    for whole, columns in ((network, slice(0, split)), (bicubic, slice(split, None))):
        plane = np.full_like(screen, BACKGROUND)
        part = whole[max(0, -top) : height - top, max(0, -left) : width - left]
        plane[max(0, top) : max(0, top) + part.shape[0], max(0, left) : max(0, left) + part.shape[1]] = part
        screen[:, columns] = plane[:, columns]
    return screen


def assert_same(pixels, others):
    """Assert that two images are equal except for rounding."""
    difference = np.abs(pixels.astype(int) - others)
    assert (difference > 2).any(2).mean() < 2e-3 and (difference > 12).mean() < 1e-4


@pytest.mark.parametrize("density", [1, 1.5, 2])
def test_pixels_on_the_screen(page, url, folder, density):
    resize(page, 900, 700, density)
    open_page(page, url)
    assert_same(without_overlays(page), expected(page, folder))
    first = factor(page)
    wheel(page, -100)
    element(page, "zoom-in").click()
    decoded(page)
    assert factor(page) == pytest.approx(2 * first, rel=0.01)
    assert {width for _, _, width in tiles(page, "left").values()} == {TILE}  # in screen pixels

    before = tiles(page, "left")
    drag(page, "map", (-90, 60))
    decoded(page)
    after = tiles(page, "left")
    moved = {key: (left - round(90 * density), top + round(60 * density)) for key, (left, top, _) in before.items()}
    both = moved.keys() & after.keys()
    assert both and all(after[key][:2] == moved[key] for key in both)

    drag(page, "divider", (-200, 0))
    decoded(page)
    share = float(element(page, "divider").get_attribute("value"))
    assert share == pytest.approx(50 - 100 * 200 / 900, abs=0.5)
    assert [method(page, side).first_selected_option.text for side in ("left", "right")] == ["net", "bicubic"]
    assert_same(without_overlays(page), expected(page, folder))
    assert page.get_log("browser") == []


def test_only_the_server_is_contacted(page, url):
    open_page(page, url)
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    requests = [address for address in requests if address.startswith(("http", "ws", "ftp"))]
    assert len(requests) > 6 and all(address.startswith(url) for address in requests)


def saved(tmp_path):
    """Wait for one saved file, and return its name and its pixels."""
    wait_until(lambda: list((tmp_path / "saved").glob("*.png")))
    (path,) = (tmp_path / "saved").glob("*.png")
    pixels = np.array(Image.open(path).convert("RGB"))
    path.unlink()
    return path.name, pixels


def test_saving_this_view(page, url, folder, tmp_path):
    open_page(page, url)
    wheel(page, -200)
    drag(page, "map", (300, 0))
    decoded(page)
    left, top = page.execute_script("return viewer.view.origin")
    assert left > 0 > top
    element(page, "save").click()
    for button, split in (("save-left", 100), ("save-right", 0), ("save-both", 50)):
        page.execute_script("document.getElementById('divider').value = arguments[0]", split)
        screen = expected(page, folder)[:, left:]
        page.execute_script("document.getElementById('divider').value = 50")
        element(page, button).click()
        name, pixels = saved(tmp_path)
        scale = element(page, "zoom").text.removeprefix("×")
        if button != "save-both":
            assert name.endswith(f"ä 1-x{scale}-{'net' if split else 'bicubic'}.png")
            assert_same(pixels, screen)
    assert name.endswith("-net-bicubic.png") and pixels.shape == screen.shape
    divider = 450 - left
    assert (pixels[:, divider - 1 : divider + 1] == 255).all()
    marked = (np.abs(pixels.astype(int) - screen) > 12).any(2)
    marked[:, divider - 1 : divider + 1] = False
    rows, columns = marked.nonzero()
    assert marked[:, :divider].any() and marked[:, divider:].any() and rows.min() > len(pixels) - 40


def test_the_copied_command_upscales_the_whole_image(page, url, folder, tmp_path, monkeypatch):
    open_page(page, url)
    page.execute_script("viewer.view.show(40, 30, 2)")
    element(page, "save").click()
    page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    element(page, "copy").click()
    wait_until(lambda: element(page, "copy").text == "Copied")
    command = page.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    program, words = command.split("liif_basicsr ", 1)
    assert program == "python -m "
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(words)) == 0
    with Image.open(tmp_path / f"{NAME[:-4]}_x2.png") as written:
        assert written.size == (2 * SIZE[1], 2 * SIZE[0])
    press(page, "1")
    assert not element(page, "copy").is_enabled()


def state(page):
    return page.execute_script("const { x, y, zoom } = viewer.view; return [x, y, zoom]")


def test_plus_and_minus_are_inverse(page, url):
    open_page(page, url)
    first, last = page.execute_script("return [viewer.image.min_level, viewer.image.max_level]")
    for start in range(first, last):
        page.execute_script("viewer.view.show(13.25, 47.5, arguments[0])", start)
        before = state(page)
        for keys in ("+-", "=_"):
            press(page, keys[0])
            assert state(page) == [13.25, 47.5, start + 1]
            press(page, keys[1])
            assert state(page) == before
    press(page, "+")
    press(page, "+")
    assert state(page)[2] == last and not element(page, "zoom-in").is_enabled()


def test_keys(page, url):
    open_page(page, url)
    fitting = state(page)
    for key in "0fF":
        page.execute_script("viewer.view.show(13.25, 47.5, 7)")
        press(page, key)
        assert state(page) == fitting
    page.execute_script("viewer.view.show(30, 30, 4)")
    press(page, "1")
    assert state(page) == [30, 30, 0] and factor(page) == 1
    press(page, "ArrowRight")
    press(page, "ArrowUp")
    assert state(page)[0] > 30 > state(page)[1]
    for key, value in (("[", 48), ("]", 50)):
        press(page, key)
        assert float(element(page, "divider").get_attribute("value")) == value
    press(page, "?")
    assert element(page, "keys").is_displayed()
    element(page, "keys").find_element("tag name", "button").click()
    assert not element(page, "keys").is_displayed()
    for key, panel in (("s", "saving"), ("r", "region")):
        press(page, key)
        assert element(page, panel).is_displayed()
        press(page, "Escape")
        assert not element(page, panel).is_displayed()
    for key, panel, other in (("s", "saving", "region"), ("r", "region", "saving"), ("s", "saving", "region")):
        press(page, key)
        assert element(page, panel).is_displayed() and not element(page, other).is_displayed()


def test_a_large_image_opens_at_its_most_detailed_spot(page):
    with serving(large()) as (server, _):
        open_page(page, server.url)
        x, y, zoom = state(page)
        assert 1700 < x < 2100 and 200 < y < 600 and zoom == 2 and factor(page) == 2
        assert "Fit (0)" in element(page, "hint").text
        press(page, "0")
        decoded(page)
        assert factor(page) < 1 and not element(page, "hint").is_displayed()
        assert element(page, "left").find_element("class name", "note").text == "shows the image itself up to ×1"


def assert_shown(page, made, side, *layer):
    """Assert that a side shows tiles with the pixels of an upscaling method at a strength."""
    assert tiles(page, side)
    screen = without_overlays(page)
    middle = screen.shape[1] // 2
    columns = slice(0, middle) if side == "left" else slice(middle, None)
    for key, (left, top, _) in tiles(page, side).items():
        plane = np.zeros((*screen.shape[:2], 4), np.uint8)
        y, x = max(0, top), max(0, left)
        part = pixels_of(made, *layer, *key)[y - top :, x - left :][: screen.shape[0] - y, : screen.shape[1] - x]
        plane[y : y + part.shape[0], x : x + part.shape[1]] = part
        seen = plane[:, columns, 3] > 0
        assert np.array_equal(screen[:, columns][seen], plane[:, columns, :3][seen])


def test_any_two_methods_can_be_compared(page, made):
    with serving(made) as (server, _):
        open_page(page, server.url)
        assert method(page, "right").first_selected_option.text == "clean"
        for pair in product(range(3), repeat=2):
            for side, number in zip(("left", "right"), pair, strict=True):
                method(page, side).select_by_index(number)
            decoded(page)
            for side, number in zip(("left", "right"), pair, strict=True):
                assert_shown(page, made, side, number, 100)


def test_a_method_chosen_below_level_0_is_shown_after_zooming_in(page):
    made = large()
    with serving(made) as (server, _):
        open_page(page, server.url)
        press(page, "0")
        method(page, "right").select_by_visible_text("mine")
        page.execute_script("viewer.view.show(1900, 400, 3)")
        decoded(page)
        assert_shown(page, made, "right", 0, 100)


def set_strength(page, side, value):
    page.execute_script("""const slider = document.querySelector(`#${arguments[0]} .strength input`);
        slider.value = arguments[1]; slider.dispatchEvent(new Event("input"))""", side, value)  # fmt: skip


def test_strength_mixes_with_the_clean_network(page, made):
    with serving(made) as (server, _):
        open_page(page, server.url)
        sliders = [element(page, side).find_element("class name", "strength") for side in ("left", "right")]
        assert [slider.is_displayed() for slider in sliders] == [True, False]
        set_strength(page, "left", 40)
        decoded(page)
        assert sliders[0].text.split() == ["strength", "40%"]
        assert_shown(page, made, "left", 0, 40)
        assert_shown(page, made, "right", 1, 100)
        element(page, "save").click()
        assert element(page, "command").get_attribute("value").endswith("--model photo --strength 0.4")
        press(page, "1")
        assert not sliders[0].is_displayed()


def test_the_last_level_has_no_seams(page, url):
    resize(page, 900, 700, 1.5)
    open_page(page, url)
    page.execute_script("viewer.view.show(40.123, 30.321, 99)")
    decoded(page)
    assert factor(page) == 256 and element(page, "size").text == f"{SIZE[1] * 256} × {SIZE[0] * 256}"
    screen = without_overlays(page).astype(int)
    middle = screen.shape[1] // 2
    for part in (screen[:, :middle], screen[:, middle:]):
        assert max(np.abs(np.diff(part, axis=0)).max(), np.abs(np.diff(part, axis=1)).max()) <= 6


def test_the_address_restores_the_view(page, made):
    with serving(made) as (server, _):
        open_page(page, server.url)
        page.execute_script("viewer.view.show(13.25, 47.5, 9)")
        press(page, "]")
        method(page, "left").select_by_visible_text("bicubic")
        method(page, "right").select_by_visible_text("photo")
        set_strength(page, "right", 25)
        wait_until(lambda: "right-strength=25" in page.current_url)
        open_page(page, page.current_url)
        assert state(page) == [13.25, 47.5, 9]
        assert float(element(page, "divider").get_attribute("value")) == 52
        assert [method(page, side).first_selected_option.text for side in ("left", "right")] == ["bicubic", "photo"]
        assert page.execute_script("return viewer.sides[1].strength") == 25
        fitting = page.execute_script("return viewer.view.fittingLevel()")
        for wrong in ("x=nan&y=1&zoom=2", "x=1&y=2&zoom=-1", "x=99999&y=1&zoom=2", "zoom"):
            open_page(page, f"{server.url}#{wrong}")
            assert state(page) == [40, 30, fitting]
        open_page(page, f"{server.url}#x=30&y=40&zoom=16&left=none&split=-1")
        assert state(page) == [30, 40, 8] and method(page, "left").first_selected_option.text == "photo"
        assert page.get_log("browser") == []


def drop(page, name, text):
    page.execute_script("""const transfer = new DataTransfer();
        transfer.items.add(new File([arguments[1]], arguments[0]));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }))
        """, name, text)  # fmt: skip


def test_other_images_can_be_opened(page, made, tmp_path):
    second = tmp_path / "zwei & more.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8)).save(second)
    with serving(made) as (server, _):
        open_page(page, server.url)
        first = page.current_url
        drop(page, "no image.txt", "text")
        wait_until(lambda: status(page).startswith("no image.txt: "))
        assert "\n" not in status(page) and page.title == "photo.png"
        drop(page, "empty.png", "")
        wait_until(lambda: status(page).startswith("empty.png: "))

        page.find_element("id", "file").send_keys(str(second))
        wait_until(lambda: page.title == second.name)
        decoded(page)
        assert page.current_url != first and page.execute_script("return viewer.image.width") == 50
        assert_shown(page, server.page.tiles, "left", 0, 100)
        page.execute_script("""fetch("image.jpg").then((response) => response.blob()).then((blob) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([blob], "third.jpg"));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        })""")
        wait_until(lambda: page.title == "third.jpg")
        decoded(page)


def test_a_page_whose_image_was_replaced_says_so(page, made):
    with serving(made) as (server, _):
        open_page(page, server.url)
        server.page = ImagePage(made, server.page.rectifier.source, "other.png")
        press(page, "+")
        wait_until(lambda: status(page) == "another image has been opened in this viewer")


@pytest.mark.parametrize("width, height", [(320, 568), (390, 844), (1024, 844)])
def test_nothing_is_cut_off(page, made, width, height):
    resize(page, width, height)
    with serving(made, path="a very long name of a photograph from the holidays in the mountains.png") as (server, _):
        open_page(page, server.url)
        for key in ("", "s", "r"):
            if key:
                press(page, key)
            boxes = page.execute_script("""
                const names = "button, select, [type=range], .panel, #zoom, #size, .strength, .strength *";
                return [...document.querySelectorAll(names)]
                    .filter((e) => e.checkVisibility() && e.id !== "divider")
                    .map((e) => [e.id || e.textContent, e.tagName, e.getBoundingClientRect(), e.closest(".panel")])
                    .map(([name, tag, box, panel]) => [name, tag, box.left, box.top, box.right, box.bottom,
                                                       panel ? panel.getBoundingClientRect().right : innerWidth])""")
            assert len(boxes) > 15
            for name, tag, left, top, right, bottom, panel_right in boxes:
                assert 0 <= left <= right <= panel_right <= width and 0 <= top, name
                assert bottom <= height or key == "s" and height < 600, name  # that panel is scrolled
                if width < 700 and tag in ("BUTTON", "SELECT"):
                    assert right - left >= 44 and bottom - top >= 44, name
                if tag == "INPUT":
                    assert right - left >= 80, name
            top, bottom = (element(page, name).rect for name in ("top", "bottom"))
            assert top["y"] + top["height"] <= bottom["y"]


def test_the_focused_divider_shows_no_lines(page, made):
    with serving(made) as (server, _):
        open_page(page, server.url)
        press(page, "ArrowLeft")  # hides the hint
        decoded(page)
        before = screenshot(page)
        page.execute_script("document.getElementById('divider').focus({ focusVisible: true })")
        rows, columns = (screenshot(page) != before).any(2).nonzero()
        assert len(rows) > 100  # a ring around the thumb
        assert max(np.abs(rows - 350).max(), np.abs(columns - 450).max()) < 30


def test_all_bundled_models_are_offered(page, url):
    open_page(page, url)
    for side in ("left", "right"):
        assert [option.text for option in method(page, side).options] == ["net", *BUNDLED, "bicubic"]
    mixable = page.execute_script("return viewer.image.mixable")
    assert mixable == [name not in (CLEAN, "bicubic") for name in ["net", *BUNDLED, "bicubic"]]


def test_the_name_is_shown_as_text(page, url):
    open_page(page, url)
    assert page.title == element(page, "name").text == NAME


def touch(page, kind, *places):
    points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(places)]
    page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_pinching_zooms_to_a_whole_level(page, made):
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
    try:
        with serving(made) as (server, _):
            open_page(page, server.url)
            before = state(page)[2]
            touch(page, "touchStart", (400, 200), (500, 200))
            for spread in (60, 80, 110):
                touch(page, "touchMove", (450 - spread, 200), (450 + spread, 200))
            wait_until(lambda: before + 2 < state(page)[2] < before + 2.5)  # the browser delivers moves once per frame
            point = page.execute_script("return viewer.view.toImage([450, 200])")
            touch(page, "touchEnd")
            decoded(page)
            assert state(page)[2] == before + 2
            assert page.execute_script("return viewer.view.toImage([450, 200])") == pytest.approx(point, abs=2)
            assert_shown(page, made, "left", 0, 100)
    finally:
        page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
