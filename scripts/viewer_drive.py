"""Measure two times of the viewer in Chromium: until the image is visible, and from a wheel turn to sharp tiles.

    python scripts/viewer_drive.py --model liif-fast

The script zooms in at several positions of an image, one notch of the wheel at a time. The first steps at each position
compute features and are not counted. In later steps, the features are known and only new tiles are needed. A view is
sharp when all visible tiles of both sides have arrived.
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
# Number of steps that are not counted at the start of each position, because they compute features.
UNCOUNTED = 4
# Positions of the pointer, as fractions of the window's width and height.
PLACES = [(0.4, 0.45), (0.25, 0.3), (0.7, 0.35), (0.3, 0.7), (0.7, 0.7)]
# Runs before the page's scripts. Records when the stretched overview is visible, in milliseconds since the page load.
FIRST_SEEN = """
const look = () => typeof viewer !== "undefined" && viewer?.sides[0].overview.complete
    ? requestAnimationFrame((time) => { window.firstSeen = time; }) : requestAnimationFrame(look);
look();
"""
# Turn the wheel, wait until all visible tiles are drawn, and call `done` with the elapsed milliseconds.
TURN = """
const [x, y, delta, done] = arguments, start = performance.now();
const shares = viewer.shares();
const sharp = () => viewer._frame === null && viewer.sides.every((side, k) => {
  const arrived = new Set(side.arrived().map(({ place }) => place));
  return side._places(viewer.view.level).every(({ visible, place }) => !visible || arrived.has(place));
});
const look = () => sharp() ? done(performance.now() - start) : requestAnimationFrame(look);
document.getElementById("map").dispatchEvent(new WheelEvent("wheel",
    { deltaY: delta, clientX: x, clientY: y, bubbles: true, cancelable: true }));
requestAnimationFrame(look);
"""


def make_image(path: Path, size: tuple[int, int]) -> None:
    """Write a JPEG of `size` (H, W) with edges and texture at all scales."""
    rng, total = np.random.default_rng(0), np.zeros((*size, 3), np.float32)
    for share in (1, 2, 4, 16, 64):
        noise = rng.integers(0, 256, (size[0] // share + 1, size[1] // share + 1, 3), dtype=np.uint8)
        resized = Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC)
        total += np.asarray(resized, np.float32) * share**0.5
    low, high = np.percentile(total, (1, 99))
    Image.fromarray(((total - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)).save(path, quality=92)


@contextmanager
def viewer(image: Path, words: list[str]) -> Iterator[str]:
    """Run the command `view` and yield the address of its page."""
    command = [sys.executable, "-m", "liif_basicsr", "view", str(image), "--no-browser", *words]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as process:
        try:
            found = re.match(r"http://\S+/", process.stdout.readline()) if process.stdout else None
            if not found:
                raise LIIFError("the viewer did not start; see its error above")
            yield found[0]
        finally:
            process.terminate()


def drive(page: Any, url: str, place: tuple[float, float], steps: int) -> list[float]:
    """Zoom in at a position, and return the milliseconds of each counted step."""
    page.get("about:blank")
    page.get(f"{url}#x=1000&y=750&zoom=0.5")
    wait_for_tiles(page)
    x, y = (part * n for part, n in zip(place, page.execute_script("return [innerWidth, innerHeight]"), strict=True))
    times = []
    for step in range(UNCOUNTED + steps):
        sharp = page.execute_async_script(TURN, x, y, -100)
        wait_for_tiles(page)
        factor = page.execute_script("return document.getElementById('zoom').textContent")
        if step >= UNCOUNTED:
            print(f"{factor}: sharp after {sharp:.0f} ms", flush=True)
            times.append(sharp)
    return times


def wait_for_tiles(page: Any) -> None:
    """Wait until all tiles have arrived, even the hidden ones. They usually arrive before a user zooms again."""
    while page.execute_script("return typeof viewer === 'undefined' || !viewer || viewer.sides.some((s) => s.loading)"):
        time.sleep(0.1)


def measure(args: argparse.Namespace) -> None:
    """Drive the viewer and print the times."""
    sys.path.insert(0, str(ROOT / "tests"))
    try:
        from browser import browser, resize
    except pytest.skip.Exception as error:
        raise LIIFError(str(error)) from None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = args.image or folder / "made.jpg"
        if args.image is None:
            make_image(image, (1500, 2000))
        with viewer(image, ["--model", args.model]) as url, browser(folder, logs=False) as page:
            resize(page, 1200, 800)
            page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FIRST_SEEN})
            page.set_script_timeout(600)
            page.get(url)
            time.sleep(2)
            print(f"the stretched image is visible after {page.execute_script('return firstSeen'):.0f} ms", flush=True)
            times = [time for place in PLACES[: args.places] for time in drive(page, url, place, args.steps)]
    print(f"{args.model}, {len(times)} steps: sharp after {statistics.median(times):.0f} ms "
          f"(median; {min(times):.0f} to {max(times):.0f} ms)")  # fmt: skip


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT, help="as for the command view (default: %(default)s)")
    parser.add_argument("--image", type=Path, help="image to view (default: a synthetic one of 2000x1500)")
    parser.add_argument("--places", type=int, choices=range(1, len(PLACES) + 1), default=len(PLACES),
                        help="number of positions (default: %(default)s)")  # fmt: skip
    parser.add_argument("--steps", type=int, default=6, help="counted steps at each position (default: %(default)s)")
    args = parser.parse_args()
    return run_script("viewer_drive.py", lambda: measure(args), "results are not saved")


if __name__ == "__main__":
    sys.exit(main())
