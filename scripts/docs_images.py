"""Redraw the images in the README and the docs, with the bundled models.

    python scripts/docs_images.py --data datasets --kodak Kodak24               # all of them, into assets/
    python scripts/docs_images.py --data datasets --kodak Kodak24 photo_face viewer

`--data` is the folder with Set5, as written by `prepare benchmark`. `--kodak` is the folder of Kodak's images,
kodim01.png to kodim24.png. `edsr-baseline-liif` and `realesrgan-x4plus` must be downloaded. The image of the viewer
needs Chromium.
"""
from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage
from figures import save
from PIL import Image, ImageDraw, ImageFont

import liif_basicsr
from liif_basicsr.__main__ import main as liif_main
from liif_basicsr.errors import LIIFError, run_script, suggest
from liif_basicsr.images.reading import read_srgb

ROOT = Path(__file__).parents[1]
SCIKIT_IMAGE = Path(skimage.__file__).parent / "data"
OFFICIAL = "EDSR-baseline-LIIF=edsr-baseline-liif"


# Margin in pixels around the window of a sheet. It is upscaled, but not shown.
MARGIN = 48


class Sources(NamedTuple):
    """Folders of the input images. `made` is the folder for inputs that this script draws itself."""

    data: Path
    kodak: Path
    made: Path


FindImage = Callable[[Sources], Path]


def photo(
    image: FindImage, top: int, left: int, degradation: str = "jpeg:60",
    models: tuple[str, ...] = ("liif-photo", "Real-ESRGAN=realesrgan-x4plus"),
) -> Callable[[Sources, Path], None]:  # fmt: skip
    """Return a function that draws a sheet for docs/photographs.md.

    The sheet shows a window of 200x180 pixels at (`top`, `left`), which is degraded, then upscaled by each model. Only
    the window and a margin around it are upscaled.
    """

    def draw(sources: Sources, out: Path) -> None:
        whole, path = read_srgb(image(sources)), sources.made / f"{out.stem}.png"
        y, x = max(top - MARGIN, 0), max(left - MARGIN, 0)
        whole.crop((x, y, min(left + 200 + MARGIN, whole.width), min(top + 180 + MARGIN, whole.height))).save(path)
        script(
            "figures.py", "sheet", "--image", path, "--scale", 2, 3.5, 4, "--degradation", degradation,
            *(word for model in models for word in ("--model", model)),
            "--region", f"{top - y},{left - x},180,200", "--precision", "bfloat16", "--out", out,
        )  # fmt: skip

    return draw


def kodak(number: int) -> FindImage:
    """Return a function that finds one of Kodak's images: sources -> path."""
    return lambda sources: sources.kodak / f"kodim{number:02}.png"


def script(name: str, *args: object) -> None:
    """Run a script in this folder.

    Raises:
        LIIFError: the script failed. The message is the last line that it printed.
    """
    command = [sys.executable, str(ROOT / "scripts" / name), *map(str, args)]
    done = subprocess.run(command, text=True, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise LIIFError(done.stderr.strip().rpartition("\n")[2])


def draw_before_after(sources: Sources, out: Path) -> None:
    """Draw the README's comparison: a crop upscaled by bicubic interpolation and by `liif-photo`, side by side."""
    crop = read_srgb(kodak(5)(sources)).crop((300, 130, 460, 260))
    after = liif_basicsr.upscale(crop, scale=3.5)
    page = Image.new("RGB", (2 * after.width + 8, after.height), "white")
    page.paste(crop.resize(after.size, Image.Resampling.BICUBIC), (0, 0))
    page.paste(after, (after.width + 8, 0))
    save(page, out)
    print(out)


def draw_cat(sources: Sources, out: Path) -> None:
    """Upscale the cat, for docs/upscaling.md."""
    large = sources.made / "cat.png"
    if liif_main(["upscale", str(ROOT / "assets" / "cat.png"), str(large), "--scale", "3.7", "--model", "liif-fast"]):
        raise LIIFError(f"{out}: cannot be drawn; see the error above")
    save(read_srgb(large), out)


def draw_curve(sources: Sources, out: Path) -> None:
    """Plot PSNR against scale on Set5."""
    script(
        "figures.py", "curve", "bicubic", "liif-fast", OFFICIAL, "--sets", f"Set5={sources.data}/Set5/GT_x2",
        "--scales", "1.5:5:0.25", "5.5:8:0.5", "--out", out,
    )  # fmt: skip


def draw_sheet(sources: Sources, out: Path) -> None:
    """Draw a crop of an image of Set5, upscaled by the two networks that expect clean images."""
    script(
        "figures.py", "sheet", "--image", sources.data / "Set5/GT_x4/img_003.png", "--scale", 4,
        "--model", "liif-fast", "--model", OFFICIAL, "--region", "20,20,130,110", "--zoom", 2, "--out", out,
    )  # fmt: skip


def draw_degradations(sources: Sources, out: Path) -> None:
    """Draw samples of each degradation."""
    image = SCIKIT_IMAGE / "astronaut.png"
    script("figures.py", "degradations", "--image", image, "--scale", 2, "--region", "20,140,180,200", "--out", out)


def warped(image: FindImage, *args: object) -> Callable[[Sources, Path], None]:
    """Return a function that draws a warped image, for docs/warp.md."""
    return lambda sources, out: script("warp_figures.py", "sheet", "--image", image(sources), *args, "--out", out)


def draw_page(sources: Sources) -> Path:
    """Write the page of text for docs/warp.md, and return its path."""
    script("warp_figures.py", "page", "--out", sources.made / "page.png")
    return sources.made / "page.png"


def draw_drawing(sources: Sources) -> Path:
    """Write a line drawing of a house and a tree, and return its path."""
    page = Image.new("RGB", (2560, 1920), "white")
    draw = ImageDraw.Draw(page)
    for k in range(60):  # a lawn of strokes
        draw.line((40 * k + 80, 1700, 40 * k + 110, 1560 - 20 * (k % 3)), "black", 6)
    draw.polygon([(700, 1560), (700, 900), (1200, 480), (1700, 900), (1700, 1560)], "#f2d7a0", "black", 14)
    draw.line((600, 960, 1200, 440, 1800, 960), "#a03028", 40, "curve")
    for k in range(16):
        draw.line((720, 940 + 40 * k, 1000, 940 + 40 * k), "#604020", 5)
    draw.rectangle((1080, 1180, 1320, 1560), "#3060a0", "black", 12)
    draw.rectangle((1420, 1000, 1600, 1180), "#cfe8ff", "black", 10)
    draw.line((1510, 1000, 1510, 1180), "black", 8)
    draw.line((1420, 1090, 1600, 1090), "black", 8)
    draw.line((2100, 1600, 2100, 1000), "#604020", 50)
    for k in range(9):
        y, x = 900 + 130 * np.sin(2.4 * k), 2100 + 150 * np.cos(2.4 * k)
        draw.ellipse((x - 140, y - 120, x + 140, y + 120), "#78a860" if k % 2 else "#90c078", "black", 8)
    draw.text((760, 1300), "No. 7", "black", ImageFont.load_default(90))
    page.resize((640, 480), Image.Resampling.LANCZOS).save(sources.made / "drawing.png")
    return sources.made / "drawing.png"


def draw_night(sources: Sources) -> Path:
    """Write one of Kodak's images, darkened like a photograph taken at night, and return its path."""
    image = read_srgb(kodak(24)(sources)).point([round(value / 3) for value in range(256)] * 3)
    image.save(sources.made / "night.png")
    return sources.made / "night.png"


def draw_viewer(sources: Sources, out: Path) -> None:
    """Take a screenshot of the viewer, with `liif-photo` next to bicubic interpolation."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import browser, decoded, resize
    from viewer_drive import viewer

    with viewer(kodak(5)(sources), []) as url, browser(sources.made, logs=False) as page:
        resize(page, 1200, 680)
        page.set_script_timeout(300)
        page.get(f"{url}#x=380&y=195&zoom=4")
        decoded(page)
        save(Image.open(BytesIO(page.get_screenshot_as_png())).convert("RGB"), out)
        print(out)


# File in assets/ -> function that draws it. assets/psnr_time.png comes from tables.py, see docs/evaluation.md.
IMAGES: dict[str, Callable[[Sources, Path], None]] = {
    "before_after.jpg": draw_before_after,
    "cat_x3.7.jpg": draw_cat,
    "photo_face.jpg": photo(kodak(4), 150, 180),
    "photo_houses.jpg": photo(kodak(8), 250, 200),
    "photo_river.jpg": photo(kodak(13), 300, 250),
    "photo_plane.jpg": photo(kodak(20), 270, 150),
    "photo_flowers.jpg": photo(kodak(7), 120, 300),
    "photo_text.jpg": photo(lambda sources: SCIKIT_IMAGE / "page.png", 0, 90),
    "photo_drawing.jpg": photo(draw_drawing, 190, 350, models=("liif-fast", "liif-photo")),
    "photo_night.jpg": photo(draw_night, 250, 330, "camera", ("liif-fast", "liif-photo")),
    "psnr_scale.png": draw_curve,
    "sheet_x4.jpg": draw_sheet,
    "degradations.jpg": draw_degradations,
    "warp_page.jpg": warped(
        draw_page, "--quad", "78,61", "417,35", "449,499", "41,480", "--scale", 2, "--region", "60,40,300,400"
    ),
    "warp_facade.jpg": warped(
        kodak(8), "--quad", "544,234", "763,197", "763,463", "548,480", "--scale", 2, "--region", "20,20,300,400"
    ),
    "warp_horizon.jpg": warped(kodak(16), "--rotate", 5, "--scale", 2, "--region", "440,480,300,400"),
    "viewer.jpg": draw_viewer,
}


def run(args: argparse.Namespace) -> None:
    """Draw the images."""
    stems = {Path(name).stem: name for name in IMAGES}
    for name in args.names:
        if name not in stems:
            raise LIIFError(f"{name}: unknown image{suggest(name, stems)}")
    with tempfile.TemporaryDirectory() as made:
        for name in args.names or stems:
            IMAGES[stems[name]](Sources(args.data, args.kodak, Path(made)), args.out / stems[name])


def main() -> int:
    """Parse the command line and draw; bad input is reported in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="images to draw, without suffix (default: all)")
    parser.add_argument("--data", type=Path, default=Path("datasets"), help="folder of Set5 (default: %(default)s)")
    parser.add_argument("--kodak", type=Path, default=Path("datasets/Kodak24"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "assets", help="folder to write to (default: assets)")
    args = parser.parse_args()
    return run_script("docs_images.py", lambda: run(args), "run it again")


if __name__ == "__main__":
    sys.exit(main())
