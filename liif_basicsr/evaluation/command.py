"""Command-line arguments that tables.py and figures.py share, and the function that evaluates the networks."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from liif_basicsr.config.scales import scale_pair
from liif_basicsr.devices import PRECISIONS
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.methods import Method, open_method, open_methods
from liif_basicsr.evaluation.results import Reference, Results, measure_all
from liif_basicsr.evaluation.sets import NIQE_SIDE, PROTOCOLS, EvalSet, Scale, check_sizes, common_kind, open_sets
from liif_basicsr.launch.ranks import Ranks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to a parser."""
    parser.add_argument(
        "methods", nargs="+", metavar="NETWORK",
        help="a checkpoint, the name of a known model, bicubic, lanczos, or a comma-separated group of fixed-scale "
             "networks (the one with the nearest scale is used); LABEL=NETWORK sets the label in the table",
    )  # fmt: skip
    parser.add_argument(
        "--sets", nargs="+", required=True, metavar="SET", help="test set: a folder in --data, or NAME=FOLDER"
    )
    parser.add_argument("--data", default="datasets", help="folder that contains the sets (default: %(default)s)")
    parser.add_argument(
        "--scales", nargs="+", type=scales, required=True, metavar="SCALE",
        help="for example 2 2.5, 2x3.5 (y, x), or 2:8:0.25 (from, to, step)",
    )  # fmt: skip
    parser.add_argument(
        "--degradation", metavar="TYPE",
        help="degradation of the low-resolution images, such as jpeg:60, photo or realesrgan (default: none)",
    )  # fmt: skip
    parser.add_argument("--protocol", choices=PROTOCOLS, help="color space and ignored border (default: the set's own)")
    parser.add_argument(
        "--channels", type=int, default=3, metavar="N", help="number of channels of the images (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--value-range", type=float, nargs=2, metavar=("LOW", "HIGH"),
        help="pixel values that become 0 and 1 for the networks (default: the whole range of uint8 or uint16)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="precision of the networks (default: %(default)s)"
    )
    parser.add_argument("--self-ensemble", action="store_true", help="also evaluate the self-ensemble of each network")
    parser.add_argument(
        "--results", type=Path, default=Path("results/tables.json"),
        help="file that stores the results (default: %(default)s)",
    )  # fmt: skip


def measured(
    args: argparse.Namespace, metrics: Sequence[str] = ("psnr", "ssim"), reference: str | None = None
) -> tuple[list[Method], list[EvalSet], Results, Reference | None] | None:
    """Open the networks and sets, and compute the results that are not in the results file yet.

    Args:
        args: the parsed arguments of `add_arguments`.
        metrics: names in METRICS.
        reference: a network; the outputs of the other methods are also compared with its outputs.

    Returns:
        The methods, sets, results and opened reference. All processes of torchrun except the first return None.

    Raises:
        LIIFError: an argument or file is invalid. Everything except the images' pixels is checked before measuring
            starts.
    """
    wanted = scales_of(args)
    if "niqe" in metrics and args.channels != 3:
        raise LIIFError(f"--metrics: NIQE needs RGB, but --channels is {args.channels}; remove niqe")
    options = {key: getattr(args, key) for key in ("degradation", "protocol", "channels", "value_range")}
    eval_sets = [eval_set for text in args.sets for eval_set in open_sets(text, args.data, wanted, **options)]
    if len({eval_set.name for eval_set in eval_sets}) < len(args.sets):
        raise LIIFError("--sets: two sets have the same name; rename one with NAME=FOLDER")
    if "niqe" in metrics:
        for eval_set in eval_sets:
            check_sizes(eval_set, NIQE_SIDE, "NIQE")
    kind = common_kind(eval_sets)
    ranks = Ranks()
    ranks.take_gpu()
    methods = open_methods(args.methods, args.precision, args.self_ensemble, kind)
    compared = Reference(open_method(reference, args.precision, kind)) if reference else None
    results = Results(args.results)
    measure_all(methods, eval_sets, results, ranks, metrics, compared)
    ranks.end(0)
    return (methods, eval_sets, results, compared) if ranks.rank == 0 else None


def scales_of(args: argparse.Namespace) -> list[Scale]:
    """Return all scales in the arguments.

    Raises:
        LIIFError: a scale occurs twice.
    """
    wanted = [scale for part in args.scales for scale in part]
    if len(set(wanted)) < len(wanted):
        raise LIIFError("--scales: a scale occurs twice; remove one")
    return wanted


def scales(text: str) -> list[Scale]:
    """Parse one value of --scales: a scale, a pair, or a range.

    Raises:
        argparse.ArgumentTypeError: the text is none of these, or a scale is below 1.
    """
    try:
        if ":" not in text:
            numbers = [float(number) for number in text.split("x")]
            return [scale_pair(numbers if len(numbers) > 1 else numbers[0], 1)]
        first, last, step = map(float, text.split(":"))
        if 0 < step <= last - first < 1e4:
            return [scale_pair(round(first + k * step, 6), 1) for k in range(int((last - first) / step + 1e-6) + 1)]
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a scale of at least 1, such as 2.5, 2x3.5 or 2:8:0.25, got {text!r}")
