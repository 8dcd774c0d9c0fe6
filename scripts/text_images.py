"""Draw images of text, tables and line drawings, which photographs lack, to train on.

    python scripts/text_images.py datasets/text --count 60

The fonts are those of Matplotlib (the extra `figures`).
"""
from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from liif_basicsr.errors import LIIFError, run_script

SIZE = 512
WORDS = "image scale feature of a continuous function the network coordinate 0.25 2021 pixel and grid color in to with"


def draw(generator: random.Random, fonts: list[Path]) -> Image.Image:
    """Draw one image of 512x512: a background, lines of text, and shapes."""
    def color() -> tuple[int, int, int]:
        return generator.randrange(256), generator.randrange(256), generator.randrange(256)

    plain = generator.random() < 0.5
    image = Image.new("RGB", (SIZE, SIZE), "white" if plain else color())
    pen = ImageDraw.Draw(image)
    for _ in range(generator.randrange(8)):
        corners = [generator.randrange(SIZE) for _ in range(4)]
        box = min(corners[::2]), min(corners[1::2]), max(corners[::2]), max(corners[1::2])
        shapes = [pen.rectangle, pen.ellipse, lambda box, outline, width: pen.line(box, outline, width)]
        shape = generator.choice(shapes)
        shape(box, outline=color(), width=generator.randint(1, 4))
    y = generator.randrange(20)
    while y < SIZE:
        font = ImageFont.truetype(generator.choice(fonts), generator.choice([10, 12, 14, 16, 20, 28, 40]))
        ink = "black" if plain and generator.random() < 0.7 else color()
        line = " ".join(generator.choices(WORDS.split(), k=14))
        if generator.random() < 0.3:
            line = line.upper()
        pen.text((generator.randrange(-10, 60), y), line, ink, font)
        y += round(font.size * generator.uniform(1, 1.8))
    return image


def write_images(folder: Path, count: int) -> None:
    """Draw images and write them as PNG."""
    try:
        from matplotlib import get_data_path
    except ImportError:
        raise LIIFError("needs Matplotlib's fonts; run: pip install 'liif_basicsr[figures]'") from None
    fonts = sorted((Path(get_data_path()) / "fonts" / "ttf").glob("DejaVu*.ttf"))
    fonts = [font for font in fonts if "Display" not in font.stem]
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        draw(random.Random(k), fonts).save(folder / f"text_{k:03}.png")
    print(f"{count} images in {folder}")


def main() -> int:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("--count", type=int, default=60, help="default: 60")
    args = parser.parse_args()
    return run_script("text_images.py", lambda: write_images(args.folder, args.count), "run it again")


if __name__ == "__main__":
    sys.exit(main())
