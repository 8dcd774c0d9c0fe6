"""Draw figures from images and checkpoints.

    python scripts/figures.py sheet --image photo.png --scale 4 --model net_g_latest.pth --out sheet.png
    python scripts/figures.py curve bicubic liif-fast --sets Kodak24 --scales 1.5:8:0.5 --out curve.png
    python scripts/figures.py degradations --image photo.png --scale 4 --out degradations.png

`sheet` downsamples an image and upscales it again. It shows the input, bicubic, each model and the original side by
side, in one row per `--scale`. `curve` plots PSNR against scale; it takes the arguments of `tables.py` and reads the
same results file. (`tables.py --figure` plots PSNR against time.) `degradations` shows several samples of each
degradation.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from liif_basicsr.data.decode import to_image_tensor, to_pixels
from liif_basicsr.data.degradations import Degradation, seed_of
from liif_basicsr.data.sampling import downsample
from liif_basicsr.devices import PRECISIONS
from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.evaluation.command import add_arguments, measured, scales_of
from liif_basicsr.evaluation.curve import check_curve, draw_curve
from liif_basicsr.evaluation.methods import Method, open_methods
from liif_basicsr.evaluation.results import METRICS
from liif_basicsr.evaluation.validation import measure, protocol_options
from liif_basicsr.files import check_output, write
from liif_basicsr.images.reading import read_srgb
from liif_basicsr.rendering.coordinates import check_window

LABEL_HEIGHT = 22
GAP = 6
SMALL = range(1, 33)
SHEETS = {".png": "PNG", ".jpg": "JPEG"}


def downscaled(gt: Image.Image, scale: float, degradation: Degradation | None, seed: int = 0) -> Image.Image:
    """Downsample an image with a degradation, or with Pillow's bicubic filter if `degradation` is None."""
    size = max(1, round(gt.height / scale)), max(1, round(gt.width / scale))
    pixels = np.array(gt)
    return Image.fromarray(downsample(pixels, size) if degradation is None else degradation(pixels, size, seed))


def upscale_all(gt: Image.Image, low: Image.Image, scale: float, methods: Sequence[Method]) -> dict[str, Image.Image]:
    """Return label -> panel, of the original's size: the enlarged input, each method's output, and the original."""
    panels = {f"input, x{scale:g} smaller": low.resize(gt.size, Image.Resampling.NEAREST)}
    lq, target = (to_image_tensor(np.asarray(image))[None] for image in (low, gt))
    protocol = protocol_options("benchmark", (scale, scale) if min(gt.size) > 4 * scale else (0, 0))
    for method in methods:
        output = method.render(lq, (gt.height, gt.width))
        (psnr,) = measure(output, target, {"psnr": METRICS["psnr"]}, protocol)
        panels[f"{method.label}, {psnr:.2f} dB"] = Image.fromarray(to_pixels(output[0]))
    return {**panels, "original": gt}


def sheet(panels: dict[str, Image.Image], zoom: int, columns: int | None) -> Image.Image:
    """Arrange labeled panels in rows of `columns` panels (None: in one row). Repeat each pixel `zoom` times."""
    columns = min(columns or len(panels), len(panels))
    width, height = (zoom * n for n in next(iter(panels.values())).size)
    step_x, step_y = width + GAP, height + LABEL_HEIGHT
    page = Image.new("RGB", (columns * step_x - GAP, -(-len(panels) // columns) * step_y), "white")
    draw = ImageDraw.Draw(page)
    for number, (label, panel) in enumerate(panels.items()):
        top, left = number // columns * step_y, number % columns * step_x
        page.paste(panel.resize((width, height), Image.Resampling.NEAREST), (left, top + LABEL_HEIGHT))
        draw.text((left + 2, top + 4), label, fill="black", font=ImageFont.load_default(13))
    return page


def region_of(text: str) -> tuple[int, int, int, int]:
    """Parse `top,left,height,width`."""
    try:
        top, left, height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected top,left,height,width, got {text!r}") from None
    return top, left, height, width


def read_image(args: argparse.Namespace) -> Image.Image:
    """Check the arguments of a sheet and read its image."""
    check_output(args.out, SHEETS)
    for scale in args.scale:
        if not 1 <= scale < 1e4:
            raise LIIFError(f"--scale: expected a number of at least 1 and below 10000, got {scale:g}")
    gt = read_srgb(args.image)
    check_window((gt.height, gt.width), args.region)
    return gt


def run_sheet(args: argparse.Namespace) -> None:
    """Write a sheet with one row per scale."""
    gt = read_image(args)
    degradation = Degradation(args.degradation, "--degradation") if args.degradation else None
    methods = open_methods(["bicubic", *args.model], args.precision)
    rows = []
    for scale in args.scale:
        low = downscaled(gt, scale, degradation, seed_of(args.image))
        rows.append(upscale_all(gt, low, scale, methods))
    write_sheet(rows, args)


def run_degradations(args: argparse.Namespace) -> None:
    """Write a sheet with several samples of each degradation."""
    gt = read_image(args)
    panels: dict[str, Image.Image] = {}
    made = [(text, Degradation(text, f"degradation {text}")) for text in args.degradation]
    args.columns = args.draws
    for text, degradation in made:
        for seed in range(args.draws):
            low = downscaled(gt, args.scale[0], degradation, seed)
            panels[f"{text}, {seed + 1}"] = low.resize(gt.size, Image.Resampling.NEAREST)
    write_sheet([panels], args)


def write_sheet(rows: Sequence[dict[str, Image.Image]], args: argparse.Namespace) -> None:
    """Crop the panels to the region and write them."""
    whole = next(iter(rows[0].values()))
    _, (top, left, height, width) = check_window((whole.height, whole.width), args.region)
    box = left, top, left + width, top + height
    pages = [
        np.asarray(sheet({label: panel.crop(box) for label, panel in panels.items()}, args.zoom, args.columns))
        for panels in rows
    ]
    save(Image.fromarray(np.concatenate(pages)), args.out)
    for panels in rows:
        print(f"{args.out}: {', '.join(panels)}")


def save(image: Image.Image, path: Path) -> None:
    """Write a PNG or a small JPEG atomically. The suffix of `path` decides the format."""
    content = BytesIO()
    image.save(content, SHEETS[path.suffix], quality=70, optimize=True, progressive=True)
    write(path, content.getvalue())


def run_curve(args: argparse.Namespace) -> None:
    """Plot PSNR against scale. Results that are missing from the results file are computed first."""
    check_curve(args.out, scales_of(args))
    found = measured(args)
    if found is None:
        return
    draw_curve(args.out, *found[:3])
    print(args.out)


def add_sheet_arguments(
    command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], scales: int | str
) -> None:
    """Add the arguments of sheets; `scales` is the `nargs` of --scale."""
    command.add_argument("--image", required=True, help="image at full resolution")
    command.add_argument(
        "--scale", type=float, nargs=scales, default=[4], metavar="S", help="downsampling factor (default: 4)",
    )  # fmt: skip
    command.add_argument("--region", type=region_of, help="part to show: top,left,height,width in pixels")
    command.add_argument("--zoom", type=int, choices=SMALL, default=1, metavar="N",
                         help="repeat pixels N times (default: 1)")  # fmt: skip
    command.add_argument("--out", type=Path, required=True, help="output image: .png, .jpg")
    command.set_defaults(run=run)


def main() -> int:
    """Parse the command line and run the command; bad input is reported in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("sheet", help="an image, downsampled and upscaled again by each model")
    add_sheet_arguments(command, run_sheet, "+")
    command.add_argument("--model", action="append", default=[], help="NETWORK as in `curve`; may be repeated")
    command.add_argument("--degradation", help="for example photo or jpeg:60 (default: none)")
    command.add_argument("--precision", choices=PRECISIONS, default="float32", help="default: %(default)s")
    command.add_argument("--columns", type=int, choices=SMALL, metavar="N", help="panels per row (default: all)")
    command = commands.add_parser("degradations", help="samples of degradations")
    add_sheet_arguments(command, run_degradations, 1)
    command.add_argument(
        "degradation", nargs="*", default=["photo", "jpeg", "realesrgan"],
        help="for example photo or jpeg:60 (default: %(default)s)",
    )  # fmt: skip
    command.add_argument("--draws", type=int, choices=SMALL, default=4, metavar="N",
                         help="samples per degradation (default: 4)")  # fmt: skip
    command = commands.add_parser("curve", help="PSNR against scale")
    add_arguments(command)
    command.add_argument("--out", type=Path, required=True, help="output figure: .png, .svg, .pdf")
    command.set_defaults(run=run_curve)
    args = parser.parse_args()
    return run_script("figures.py", lambda: args.run(args), "run it again to continue")


if __name__ == "__main__":
    sys.exit(main())
