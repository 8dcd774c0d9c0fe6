"""Rotate an image, rectify a page or a façade, or warp it by a matrix."""
from __future__ import annotations

import argparse
import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from liif_basicsr.cli._arguments import (
    add_engine_arguments,
    add_model_argument,
    apply_engine_arguments,
    is_missing,
    read_text,
    show,
)
from liif_basicsr.errors import LIIFError, errors_about
from liif_basicsr.hub import CLEAN, find
from liif_basicsr.images.size import OutputSize, parse_bands, parse_scale
from liif_basicsr.images.suffixes import check_writable

if TYPE_CHECKING:
    import numpy as np

    from liif_basicsr.images.loaded import LoadedImage
    from liif_basicsr.images.warp import Fill
    from liif_basicsr.rendering.warps import Homography

ORDER = 3

Size = tuple[int, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", help="image to warp; write ./-x for a file named -x")
    parser.add_argument("output", help="image to write")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--rotate", metavar="DEGREES", type=float, help="rotate counterclockwise about the center")
    how.add_argument(
        "--quad", metavar="X,Y", nargs=4,
        help="rectify the quadrilateral with these corners, in pixels, clockwise from the top left",
    )  # fmt: skip
    how.add_argument(
        "--matrix", metavar="FILE", type=Path,
        help="file with a 2x3 or 3x3 matrix, as JSON or text, that maps input pixels to output pixels as in "
        "cv2.warpPerspective",
    )  # fmt: skip
    parser.add_argument(
        "-s", "--scale", metavar="S", help="also scale, by one factor or by two (along y, along x) such as 2x3.5"
    )
    parser.add_argument(
        "--size", metavar="WxH",
        help="output size. With --quad, the quadrilateral is stretched to this size (default: as wide as "
        "the longer of its top and bottom sides, and as high as the longer of its left and right sides). With "
        "--matrix, the output is cropped to this size (default: the input's size)",
    )  # fmt: skip
    parser.add_argument(
        "--no-expand", action="store_true", help="with --rotate: keep the input's size and cut off the corners"
    )
    parser.add_argument(
        "--fill", default="0", metavar="V",
        help="value of pixels outside the image: one number, one per band such as R,G,B, or nan (default: 0)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    add_model_argument(parser, CLEAN)
    add_engine_arguments(parser)
    # By default argparse mistakes -2,35 for an option, because it recognizes only single negative numbers.
    parser._negative_number_matcher = re.compile(r"-[\d.]")


def run(args: argparse.Namespace) -> int:
    """Warp the image.

    Returns:
        Exit status: 0, or 1 if the output was not written.
    """
    scale = parse_scale(args.scale) if args.scale else (1.0, 1.0)
    size = _check_options(args)
    source, target = Path(args.input), Path(args.output)
    if is_missing(source):
        raise LIIFError(f"{show(source)}: no such file")
    if source.is_dir() or target.is_dir():
        raise LIIFError(f"{show(source if source.is_dir() else target)}: is a folder; warp reads and writes one image")
    with errors_about(show(target)):
        check_writable(target)
    points = [_parse_point(text) for text in args.quad or ()]
    fill, bands = _parse_fill(args.fill), parse_bands(args.bands)
    find(args.model)
    from liif_basicsr.cli._files import FileProcessor, Output, interrupt_on_signals, make_folders, warn_slow_precision
    from liif_basicsr.images.warp import Warper
    from liif_basicsr.rendering.homographies import check_quad

    corners = check_quad(points) if points else None
    matrix = _read_matrix(args.matrix) if args.matrix else None
    apply_engine_arguments(args)
    warper = Warper(args.model, args.device, args.precision, args.value_range)
    warn_slow_precision(warper)
    make_folders([target.parent])

    def plan(image: LoadedImage) -> Output:
        warper.check_fill(fill, image)
        homography = _homography(image.size, args.rotate, not args.no_expand, corners, matrix, scale, size)
        placed = len(warper.output_like(image).tags) < len(image.tags)
        note = "a warped image does not keep its position on the map (GeoTIFF tags)" if placed else ""
        return Output(homography.size, partial(warper.strips, image, homography, fill), note)

    processor = FileProcessor(warper, args.model, args.overwrite, allow_huge=args.yes, bands=bands)
    with interrupt_on_signals():
        return 1 if processor.process(source, target, plan) else 0


def _check_options(args: argparse.Namespace) -> Size | None:
    """Return `--size` as (H, W), or None without this option.

    Raises:
        LIIFError: the options exclude each other.
    """
    if args.rotate is None and args.no_expand:
        raise LIIFError("--no-expand: applies only to --rotate; remove --no-expand")
    if args.rotate is not None and args.size:
        raise LIIFError("--size: does not apply to --rotate; use --scale, or --no-expand for the input's size")
    if args.quad and args.size and args.scale:
        raise LIIFError("--size and --scale: use only one of them with --quad")
    if not args.size:
        return None
    parsed = OutputSize.parse(size=args.size)
    return parsed.height or 0, parsed.width or 0


def _homography(
    in_size: Size, degrees: float | None, expand: bool, corners: np.ndarray | None, matrix: np.ndarray | None,
    scale: tuple[float, float], size: Size | None,
) -> Homography:  # fmt: skip
    """Return the homography that the command's options define for an image of `in_size` (h, w).

    Args:
        degrees: angle of `--rotate`; used if `corners` and `matrix` are None.
        expand: whether the output contains the whole rotated image.
        corners: (4, 2), the points (x, y) of `--quad`, or None.
        matrix: (3, 3), the matrix of `--matrix`, or None.
        scale: factors (along y, along x).
        size: (H, W), or None if the option `--size` is not used.
    """
    from liif_basicsr.rendering.homographies import natural_size, rectification, rotation, scaled_size, scaling
    from liif_basicsr.rendering.warps import Homography

    if matrix is not None:
        return Homography(scaling(scale) @ matrix, size or scaled_size(in_size, scale))
    if corners is not None:
        size = size or scaled_size(natural_size(corners), scale)
        return Homography(rectification(corners, size), size)
    return Homography(*rotation(in_size, degrees or 0.0, expand, scale))


def _parse_point(text: str) -> list[float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise LIIFError(f"--quad {text}: expected X,Y, such as 120,45.5") from None
    return [x, y]


def _parse_fill(text: str) -> Fill:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise LIIFError(f"--fill {text}: expected a number, or one number per band, separated by commas") from None
    return values[0] if len(values) == 1 else values


def _read_matrix(path: Path) -> np.ndarray:
    """Read a 2x3 or 3x3 matrix: JSON, or numbers separated by blanks or commas. A single row contains all rows in turn.

    Raises:
        LIIFError: the file cannot be read, or does not contain such a matrix.
    """
    import numpy as np

    from liif_basicsr.rendering.homographies import check_matrix

    text = read_text(path, show(path))
    try:
        try:
            values = np.array(json.loads(text), dtype=np.float64)
        except json.JSONDecodeError:
            lines = text.strip().splitlines()
            words = [re.findall(r"[^\s,;]+", line) for line in (lines if len(lines) > 1 else text.split(";"))]
            values = np.array([row for row in words if row], dtype=np.float64)
    except (TypeError, ValueError, RecursionError):
        raise LIIFError(f"{show(path)}: expected 2x3 or 3x3 numbers, as JSON or separated by blanks") from None
    values = values.squeeze()
    with errors_about(show(path)):
        return check_matrix(values.reshape(-1, 3) if values.shape in ((6,), (9,)) else values)
