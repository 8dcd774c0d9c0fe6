"""The arguments that tables.py and figures.py share: the networks, sets and scales to compare."""
from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from liif_basicsr.config.checks import enlarging_scale
from liif_basicsr.devices import PRECISIONS
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.methods import Method, open_method, open_methods
from liif_basicsr.evaluation.results import Reference, Results, measure_all
from liif_basicsr.evaluation.sets import NIQE_SIDE, PROTOCOLS, Scale, Subject, check_sizes, open_subjects
from liif_basicsr.launch.ranks import Ranks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "methods", nargs="+", metavar="NETWORK",
        help="a checkpoint, a known name, bicubic, lanczos, or networks of one scale each, separated by commas, of "
             "which the nearest renders; LABEL=NETWORK sets the label in the table",
    )  # fmt: skip
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET", help="names of folders, or NAME=FOLDER")
    parser.add_argument("--data", default="datasets", help="where the folders of the sets are (default: %(default)s)")
    parser.add_argument(
        "--scales", nargs="+", type=scales, required=True, metavar="SCALE",
        help="such as 2 2.5, 2x3.5 (along y, along x), or 2:8:0.25 (from, to, step)",
    )  # fmt: skip
    parser.add_argument(
        "--degradation", metavar="TYPE",
        help="how low resolution is made of the ground truth, such as jpeg:60, photo, realesrgan (default: clean)",
    )  # fmt: skip
    parser.add_argument("--protocol", choices=PROTOCOLS, help="border and colour, see docs/evaluation.md (the set's)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="default: %(default)s")
    parser.add_argument(
        "--results", type=Path, default=Path("results/tables.json"),
        help="where each result is saved as soon as it is measured (default: %(default)s)",
    )  # fmt: skip


def measured(
    args: argparse.Namespace, metrics: Sequence[str] = ("psnr", "ssim"), reference: str | None = None
) -> tuple[list[Method], list[Subject], Results, Reference | None] | None:
    """Open what the arguments name, and measure what the results file lacks.

    Args:
        metrics: of METRICS.
        reference: the method whose outputs are compared with, too.

    Returns:
        None in all but the first of the processes that torchrun started to share the images.

    Raises:
        LIIFError: bad input, found before anything is measured unless it is a corrupt image.
    """
    wanted = scales_of(args)
    made = {"degradation": args.degradation, "protocol": args.protocol}
    subjects = [subject for text in args.sets for subject in open_subjects(text, args.data, wanted, **made)]
    if len({subject.name for subject in subjects}) < len(args.sets):
        raise LIIFError("--sets: two of them have the same name; rename one with NAME=FOLDER")
    if "niqe" in metrics:
        for subject in subjects:
            check_sizes(subject, NIQE_SIDE, "NIQE")
    ranks = Ranks()
    ranks.take_gpu()
    methods = open_methods(args.methods, args.precision)
    compared = Reference(open_method(reference, args.precision)) if reference else None
    results = Results(args.results)
    measure_all(methods, subjects, results, ranks, metrics, compared)
    ranks.end(0)
    return (methods, subjects, results, compared) if ranks.rank == 0 else None


def scales_of(args: argparse.Namespace) -> list[Scale]:
    """All scales that the arguments name.

    Raises:
        LIIFError: a scale is named twice.
    """
    wanted = [scale for part in args.scales for scale in part]
    if len(set(wanted)) < len(wanted):
        raise LIIFError("--scales: one of them is named twice")
    return wanted


def scales(text: str) -> list[Scale]:
    """The scales that an argument names.

    Raises:
        argparse.ArgumentTypeError: it is not a scale.
    """
    try:
        return [enlarging_scale(value) for value in _numbers(text)]
    except ValueError:
        message = f"{text!r} is not a scale of at least 1, such as 2.5, 2x3.5 or 2:8:0.25"
        raise argparse.ArgumentTypeError(message) from None


def _numbers(text: str) -> Iterator[float | tuple[float, ...]]:
    if ":" in text:
        first, last, step = map(float, text.split(":"))
        if not 0 < step <= last - first < 1e4:
            raise ValueError
        yield from (round(first + k * step, 6) for k in range(int((last - first) / step + 1e-6) + 1))
    elif "x" in text:
        yield tuple(map(float, text.split("x")))
    else:
        yield float(text)
