"""How long the viewer lets one wait, measured in Chromium: for something to see, and from the wheel to sharp tiles.

    python scripts/viewer_drive.py --model liif-fast

It zooms into several places of an image, two levels at a time, as a notch of a wheel does. The first four steps at a
place compute features and are not counted; each later one needs tiles that were never made, of features that are
known. Sharp is when the zoom has ended and every tile on the screen is there, LIIF's and the other side's.
"""
from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.hub import DEFAULT

ROOT = Path(__file__).parents[1]
# Steps at a place before the features that are needed are known.
UNCOUNTED = 4
# Where on the screen the wheel is turned: parts of its width and height.
PLACES = [(0.4, 0.45), (0.25, 0.3), (0.7, 0.35), (0.3, 0.7), (0.7, 0.7)]
# Runs before the page's own scripts: when the stretched image was first there, since the navigation.
FIRST_SEEN = """
const look = () => document.querySelector(".leaflet-image-pane img")?.complete
    ? requestAnimationFrame((time) => { window.firstSeen = time; }) : requestAnimationFrame(look);
look();
"""
# Turns the wheel, and calls back with the milliseconds until the tiles of the new level were asked for, and until they
# were sharp.
TURN = """
const [x, y, delta, done] = arguments, start = performance.now();
const tilesOf = (side) => [...document.querySelectorAll(`.leaflet-${side}-pane canvas`)];
const levelOf = (tile) => Number(tile.dataset.level.split("/")[1]);
const before = levelOf(tilesOf("left").at(-1));
const onScreen = (side, from, to) => tilesOf(side).filter((tile) => {
  const box = tile.getBoundingClientRect();
  return levelOf(tile) > before && box.left < to && box.right > from && box.top < innerHeight && box.bottom > 0;
});
let asked = null, seen = null; // what is on the screen when the zoom has ended
const look = () => {
  if (!asked && levelOf(tilesOf("left").at(-1)) > before) asked = performance.now() - start;
  if (asked && !seen && !document.querySelector(".leaflet-zoom-anim")) {
    const split = innerWidth * document.getElementById("divider").value / 100;
    seen = [onScreen("left", 0, split), onScreen("right", split, innerWidth)];
  }
  if (!seen || !seen.flat().every((tile) => tile.classList.contains("leaflet-tile-loaded"))) {
    return requestAnimationFrame(look);
  }
  done([asked, performance.now() - start]);
};
document.getElementById("map").dispatchEvent(new WheelEvent("wheel",
    { deltaY: delta, clientX: x, clientY: y, bubbles: true, cancelable: true }));
look();
"""


def make_image(path: Path, size: tuple[int, int]) -> None:
    """An image (H, W) of edges and texture at all scales, such that its PNG tiles compress like a photo's."""
    rng, total = np.random.default_rng(0), np.zeros((*size, 3), np.float32)
    for share in (1, 2, 4, 16, 64):
        noise = rng.integers(0, 256, (size[0] // share + 1, size[1] // share + 1, 3), dtype=np.uint8)
        resized = Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC)
        total += np.asarray(resized, np.float32) * share**0.5
    low, high = np.percentile(total, (1, 99))
    Image.fromarray(((total - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)).save(path, quality=92)


@contextmanager
def viewer(image: Path, words: list[str]) -> Iterator[str]:
    """The address of the page, from the command as a person runs it."""
    command = [sys.executable, "-m", "liif_basicsr", "view", str(image), "--no-browser", *words]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as process:
        try:
            found = re.match(r"http://\S+/", process.stdout.readline()) if process.stdout else None
            if not found:
                raise LIIFError("the viewer has not started, see above")
            yield found[0]
        finally:
            process.terminate()


def drive(page: Any, url: str, place: tuple[float, float], steps: int) -> list[tuple[float, float]]:
    """Zoom in at a place; the milliseconds of each counted step, see TURN."""
    page.get(url)
    x, y = (part * n for part, n in zip(place, page.execute_script("return [innerWidth, innerHeight]"), strict=True))
    times = []
    for step in range(UNCOUNTED + steps):
        asked, sharp = page.execute_async_script(TURN, x, y, -100)
        # Those hidden by the other side are made last, and a person looks before turning on.
        time.sleep(0.3)
        while page.execute_script("return document.getElementById('status').textContent"):
            time.sleep(0.1)
        factor = page.execute_script("return document.getElementById('zoom').textContent")
        if step >= UNCOUNTED:
            print(f"{factor}: asked for after {asked:.0f} ms, sharp after {sharp:.0f} ms", flush=True)
            times.append((asked, sharp))
    return times


def measure(args: argparse.Namespace) -> None:
    """Drive the viewer and print what was measured."""
    sys.path.insert(0, str(ROOT / "tests"))
    try:
        from browser import browser
    except pytest.skip.Exception as error:
        raise LIIFError(str(error)) from None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = args.image or folder / "made.jpg"
        if args.image is None:
            make_image(image, (1500, 2000))
        with viewer(image, ["--model", args.model]) as url, browser(folder, logs=False) as page:
            metrics = {"width": 1200, "height": 800, "deviceScaleFactor": 1, "mobile": False}
            page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FIRST_SEEN})
            page.set_script_timeout(600)
            page.get(url)
            time.sleep(2)
            print(f"the image itself is seen after {page.execute_script('return firstSeen'):.0f} ms", flush=True)
            times = [both for place in PLACES[: args.places] for both in drive(page, url, place, args.steps)]
    asked, sharp = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{args.model}, {len(times)} steps: asked for after {asked:.0f} ms, sharp after {sharp:.0f} ms (medians; "
          f"from {min(sharp for _, sharp in times):.0f} to {max(sharp for _, sharp in times):.0f} ms)")  # fmt: skip


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT, help="as for the command view (default: %(default)s)")
    parser.add_argument("--image", type=Path, help="(default: one of 2000x1500, made for this)")
    parser.add_argument("--places", type=int, choices=range(1, len(PLACES) + 1), default=len(PLACES),
                        help="where to zoom in (default: %(default)s)")  # fmt: skip
    parser.add_argument("--steps", type=int, default=6, help="counted at each place (default: %(default)s)")
    args = parser.parse_args()
    return run_script("viewer_drive.py", lambda: measure(args), "results are not saved")


if __name__ == "__main__":
    sys.exit(main())
