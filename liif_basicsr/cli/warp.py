"""The command `warp`: an image turned, a page or façade straightened, or any homography."""
from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np

from liif_basicsr.cli.files import (
    Output,
    add_engine_arguments,
    check_target,
    make_file,
    note_slow_precision,
    shown,
    terminated_like_interrupted,
)
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import CLEAN
from liif_basicsr.images.reading import LoadedImage
from liif_basicsr.images.size import OutputSize
from liif_basicsr.images.warp import Fill, Warper, check_fill
from liif_basicsr.rendering.homographies import (
    check_matrix,
    check_quad,
    natural_size,
    rectification,
    rotation,
    scaled_size,
    scaling,
)
from liif_basicsr.rendering.warps import Homography

Size = tuple[int, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", help="an image; ./-x for -x")
    parser.add_argument("output", help="the image to write")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--rotate", metavar="DEGREES", type=float, help="turn it counterclockwise about its centre")
    how.add_argument(
        "--quad", metavar="X,Y", nargs=4,
        help="make a rectangle of what lies between four corners, in pixels, clockwise from the top left one",
    )  # fmt: skip
    how.add_argument(
        "--matrix", metavar="FILE", type=Path,
        help="2x3 or 3x3 numbers, JSON or text, that map input pixels to output pixels as in cv2.warpPerspective",
    )  # fmt: skip
    parser.add_argument("--scale", metavar="S", help="enlarge in the same step: a factor, or two along y and x, 2x3.5")
    parser.add_argument(
        "--size", metavar="HxW",
        help="of the output: the rectangle of --quad is stretched to it, that of --matrix cut "
        "(default: the length of the quad's longer sides, the input's size)",
    )  # fmt: skip
    parser.add_argument("--no-expand", action="store_true", help="--rotate: keep the size, and cut the corners off")
    parser.add_argument("--fill", default="0", metavar="V", help="what lies outside: a number, or R,G,B (default: 0)")
    add_engine_arguments(parser, CLEAN)
    # argparse takes -2,35 for an option: to it, only what is one number is a negative number.
    parser._negative_number_matcher = re.compile(r"-[\d.]")


def run(args: argparse.Namespace) -> int:
    """Warp the image.

    Returns:
        Exit status: 0, or 1 if the image was not made.
    """
    warp_of = _WarpOf(args)
    fill = _fill(args.fill)
    source, target = Path(args.input), Path(args.output)
    if not source.exists():
        raise LIIFError(f"{shown(source)}: no such file")
    if source.is_dir() or target.is_dir():
        raise LIIFError(f"{shown(source if source.is_dir() else target)}: is a folder; warp takes and writes one image")
    check_target(target)
    warper = Warper(args.model, args.device, args.precision)
    note_slow_precision(warper)

    def plan(image: LoadedImage) -> Output:
        check_fill(fill, image.pixels)
        warp = warp_of((image.pixels.shape[0], image.pixels.shape[1]))
        return Output(
            warp.size,
            lambda whole: warper.bytes_needed(image.pixels, warp.size, whole),
            lambda done: warper.strips(image.pixels, warp, fill, done),
        )

    with terminated_like_interrupted():
        return 1 if make_file(source, target, args.overwrite, "", warper, plan) else 0


class _WarpOf:
    """What the arguments ask for, as a function of the input's size (h, w) to the warp.

    Raises:
        LIIFError: arguments that will not do, or do not go together.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        scale = OutputSize.parse(args.scale, None, None).scale if args.scale else None
        self.scale = scale or (1.0, 1.0)
        self.size = OutputSize.parse(None, args.size, None).size if args.size else None
        self.degrees, self.expand = args.rotate, not args.no_expand
        if args.rotate is None and args.no_expand:
            raise LIIFError("--no-expand: goes with --rotate alone")
        if args.rotate is not None and self.size:
            raise LIIFError("--size: does not go with --rotate; give --scale, or --no-expand for the input's size")
        if args.quad and self.size and args.scale:
            raise LIIFError("--size and --scale: give one of them beside --quad")
        self.corners = check_quad([_point(text) for text in args.quad]) if args.quad else None
        self.matrix = _read_matrix(args.matrix) if args.matrix else None

    def __call__(self, in_size: Size) -> Homography:
        if self.matrix is not None:
            return Homography(scaling(self.scale) @ self.matrix, self.size or scaled_size(in_size, self.scale))
        if self.corners is not None:
            size = self.size or scaled_size(natural_size(self.corners), self.scale)
            return Homography(rectification(self.corners, size), size)
        return Homography(*rotation(in_size, self.degrees, self.expand, self.scale))


def _point(text: str) -> list[float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise LIIFError(f"--quad {text}: must be X,Y, such as 120,45.5") from None
    return [x, y]


def _fill(text: str) -> Fill:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise LIIFError(f"--fill {text}: must be a number, or one for each channel with commas between") from None
    return values[0] if len(values) == 1 else values


def _read_matrix(path: Path) -> np.ndarray:
    """A 2x3 or 3x3 matrix from a file: JSON, or numbers with blanks or commas between.

    Raises:
        LIIFError: it cannot be read, or holds no such matrix.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no text"
        raise LIIFError(f"{shown(path)}: cannot be read: {reason}") from None
    try:
        try:
            values = np.array(json.loads(text), dtype=np.float64)
        except json.JSONDecodeError:
            values = np.array([float(word) for word in re.split(r"[\s,;]+", text.strip())])
    except (TypeError, ValueError, RecursionError):
        raise LIIFError(f"{shown(path)}: must hold 2x3 or 3x3 numbers, as JSON or with blanks between") from None
    try:
        return check_matrix(values.reshape(-1, 3) if values.size in (6, 9) else values)
    except LIIFError as error:
        raise LIIFError(f"{shown(path)}: {error}") from None
