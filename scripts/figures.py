"""Pictures to look at, from pictures and checkpoints.

    python scripts/figures.py sheet --image photo.png --scale 4 --model net_g_latest.pth --out sheet.png

reduces a picture and enlarges it again: low resolution, bicubic, each model, and the picture itself, side by side.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from liif_basicsr import LIIFError, load
from liif_basicsr.metrics.psnr_liif import calculate_psnr_liif

LABEL_HEIGHT = 22
GAP = 6


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """(1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255


def to_picture(tensor: torch.Tensor) -> Image.Image:
    """From (1, 3, H, W) in [0, 1]."""
    return Image.fromarray((tensor[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def enlarge_all(gt: Image.Image, scale: float, models: list[str]) -> dict[str, Image.Image]:
    """Reduce a picture by `scale`, enlarge it again in every way; label -> picture of gt's size."""
    low = gt.resize((max(1, round(gt.width / scale)), max(1, round(gt.height / scale))), Image.Resampling.BICUBIC)
    results = {
        f"input, x{scale:g} smaller": low.resize(gt.size, Image.Resampling.NEAREST),
        "bicubic": low.resize(gt.size, Image.Resampling.BICUBIC),
    }
    for model in models:
        picture = to_picture(load(model).render(to_tensor(low), (gt.height, gt.width)))
        results[name_of(model)] = picture
    border = int(scale) if min(gt.size) > 4 * scale else 0
    labelled = {}
    for number, (label, picture) in enumerate(results.items()):
        psnr = calculate_psnr_liif(to_tensor(picture), to_tensor(gt), border, test_y_channel=True)
        labelled[label if number == 0 else f"{label}, {psnr:.2f} dB"] = picture
    return {**labelled, "the picture itself": gt}


def name_of(model: str) -> str:
    """A model's name in a label: of a checkpoint of a run, the run's."""
    path = Path(model)
    return path.parents[1].name if path.parent.name == "models" else path.stem


def sheet(panels: dict[str, Image.Image], zoom: int) -> Image.Image:
    """Panels side by side under their labels, each pixel shown `zoom` times."""
    width, height = (zoom * n for n in next(iter(panels.values())).size)
    page = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height + LABEL_HEIGHT), "white")
    draw = ImageDraw.Draw(page)
    for number, (label, panel) in enumerate(panels.items()):
        left = number * (width + GAP)
        page.paste(panel.resize((width, height), Image.Resampling.NEAREST), (left, LABEL_HEIGHT))
        draw.text((left + 2, 4), label, fill="black", font=ImageFont.load_default(13))
    return page


def region_of(text: str) -> tuple[int, int, int, int]:
    """`top,left,height,width` as numbers."""
    try:
        top, left, height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not top,left,height,width") from None
    return top, left, height, width


def run_sheet(args: argparse.Namespace) -> None:
    """Make a sheet and write it."""
    try:
        gt = Image.open(args.image).convert("RGB")
    except OSError as error:
        raise LIIFError(f"{args.image}: cannot be read as a picture: {error}") from None
    panels = enlarge_all(gt, args.scale, args.model)
    if args.region:
        top, left, height, width = args.region
        panels = {label: p.crop((left, top, left + width, top + height)) for label, p in panels.items()}
    page = sheet(panels, args.zoom)
    page.save(args.out)
    print(f"{args.out}: {', '.join(panels)}")


def main() -> int:
    """Parse the command line and run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("sheet", help="one picture, reduced and enlarged again in every way")
    command.add_argument("--image", required=True, help="the picture, in full resolution")
    command.add_argument("--scale", type=float, default=4, help="how much it is reduced (default: 4)")
    command.add_argument("--model", action="append", default=[], help="a checkpoint or a model's name; any number")
    command.add_argument("--region", type=region_of, help="show only top,left,height,width, in pixels")
    command.add_argument("--zoom", type=int, default=1, help="show each pixel this many times (default: 1)")
    command.add_argument("--out", required=True, help="the picture to write")
    command.set_defaults(run=run_sheet)
    args = parser.parse_args()
    try:
        args.run(args)
    except LIIFError as error:
        print(f"figures.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
