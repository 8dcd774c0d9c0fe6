"""Draw an image warped by cv2 with Lanczos interpolation next to the same image warped by a network.

    python scripts/warp_figures.py page --out page.png
    python scripts/warp_figures.py sheet --image page.png --quad 78,61 417,35 449,499 41,480 --scale 1.5 --out sheet.png
    python scripts/warp_figures.py sheet --image photo.png --rotate 5 --scale 2 --region 300,200,200,300 --out sheet.png

`page` writes a simulated photograph of a page of text and prints its corners. `sheet` warps an image with both methods.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from figures import SHEETS, region_of, save, sheet
from PIL import Image, ImageDraw, ImageFont

from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.files import check_output
from liif_basicsr.images.reading import read
from liif_basicsr.images.size import check_scale
from liif_basicsr.images.warp import Warper
from liif_basicsr.rendering.coordinates import check_window
from liif_basicsr.rendering.homographies import (
    check_quad,
    natural_size,
    rectification,
    rotation,
    scaling,
)
from liif_basicsr.rendering.warps import Homography

TEXT = Path(__file__).parents[1] / "LICENSE"
PAGE, PHOTO, FINER = (2000, 1500), (520, 480), 4  # sizes (H, W), and the photograph's oversampling factor
CORNERS = [(78.0, 61.0), (417.0, 35.0), (449.0, 499.0), (41.0, 480.0)]


def draw_page() -> Image.Image:
    """Draw a page of the license's text."""
    page = Image.new("RGB", PAGE[::-1], "white")
    lines = [line.strip() for line in TEXT.read_text(encoding="utf-8").splitlines() if line.strip()]
    draw = ImageDraw.Draw(page)
    draw.multiline_text((90, 110), "\n".join(lines[:36]), "black", ImageFont.load_default(38), spacing=12)
    return page


def photographed(page: Image.Image) -> Image.Image:
    """Simulate a photograph of a page on a dark desk, with its corners at CORNERS."""
    matrix = np.linalg.inv(rectification(np.array(CORNERS), PAGE))
    size = FINER * PHOTO[0], FINER * PHOTO[1]
    fine = cv2.warpPerspective(
        np.asarray(page), scaling((FINER, FINER)) @ matrix, size[::-1], flags=cv2.INTER_AREA, borderValue=(52, 44, 38)
    )
    return Image.fromarray(fine).resize(PHOTO[::-1], Image.Resampling.BICUBIC)


def run_page(args: argparse.Namespace) -> None:
    """Write the photograph of the page, and print its corners."""
    check_output(args.out, SHEETS)
    save(photographed(draw_page()), args.out)
    print(f"{args.out}: --quad", *(f"{x:g},{y:g}" for x, y in CORNERS))


def run_sheet(args: argparse.Namespace) -> None:
    """Warp an image with both methods and write them side by side."""
    check_output(args.out, SHEETS)
    try:
        loaded = read(args.image)
    except LIIFError as error:
        raise LIIFError(f"{args.image}: {error}") from None
    pixels = loaded.pixels
    if pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise LIIFError(f"{args.image}: expected an 8-bit RGB image; convert it")
    scale = check_scale(args.scale)
    if args.quad:
        corners = check_quad([text.split(",") for text in args.quad])
        natural = natural_size(corners)
        size = round(natural[0] * scale[0]), round(natural[1] * scale[1])
        matrix = rectification(corners, size)
    else:
        matrix, size = rotation((pixels.shape[0], pixels.shape[1]), args.rotate, scale=scale)
    _, (top, left, height, width) = check_window(size, args.region)
    panels = {
        "cv2, Lanczos": cv2.warpPerspective(pixels, matrix, size[::-1], flags=cv2.INTER_LANCZOS4),
        args.model: Warper(args.model).whole(loaded, Homography(matrix, size), 0),
    }
    shown = {name: Image.fromarray(panel[top : top + height, left : left + width]) for name, panel in panels.items()}
    save(sheet(shown, 1, None), args.out)
    print(f"{args.out}: {', '.join(shown)}")


def main() -> int:
    """Parse the command line and run the command; bad input is reported in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("page", help="a simulated photograph of a page of text")
    command.add_argument("--out", type=Path, required=True, help="output image: .png, .jpg")
    command.set_defaults(run=run_page)
    command = commands.add_parser("sheet", help="one image, warped by cv2 and by a network")
    command.add_argument("--image", type=Path, required=True, help="image to warp")
    how = command.add_mutually_exclusive_group(required=True)
    how.add_argument("--quad", nargs=4, metavar="X,Y", help="as in the command `warp`")
    how.add_argument("--rotate", type=float, metavar="DEGREES", help="counterclockwise")
    command.add_argument("--scale", type=float, default=1, help="default: %(default)s")
    command.add_argument("--region", type=region_of, help="part to show: top,left,height,width in output pixels")
    command.add_argument("--model", default="liif-fast", help="a known name or a .pth file (default: %(default)s)")
    command.add_argument("--out", type=Path, required=True, help="output image: .png, .jpg")
    command.set_defaults(run=run_sheet)
    args = parser.parse_args()
    return run_script("warp_figures.py", lambda: args.run(args), "run it again")


if __name__ == "__main__":
    sys.exit(main())
