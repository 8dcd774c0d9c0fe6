"""Print a table of results per network, set and scale: PSNR and SSIM by the paper's protocols, cost, published numbers.

    python scripts/tables.py bicubic liif-fast mine=net_g_latest.pth --sets Set5 Set14 --scales 2 3 4 6 8 --out t.md
    python scripts/tables.py bicubic liif-fast --sets Set5 --scales 2 4 --self-ensemble --cost --figure times.png
    python scripts/tables.py bicubic liif-photo --sets Kodak24 --scales 4 --degradation jpeg:60 --protocol div2k \
        --metrics psnr niqe --reference realesrgan-x4plus

A set is a folder that `prepare benchmark` has written, DIV2K as downloaded, or any folder of images (NAME=FOLDER). Each
result is saved at once, so an interrupted run continues. Only changed checkpoints and sets are evaluated again.
Under torchrun, the processes divide the images among them.
"""
from __future__ import annotations

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path

import torch
from benchmarking.cases import LOW, NETWORK
from benchmarking.official import load_official, official_render
from benchmarking.timing import pairs

from liif_basicsr.archs import build_network
from liif_basicsr.config.scales import scale_text
from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.evaluation.command import add_arguments, measured, scales_of
from liif_basicsr.evaluation.curve import check_figure, draw_times
from liif_basicsr.evaluation.methods import Method, Render
from liif_basicsr.evaluation.results import METRICS, TO_REFERENCE, Values
from liif_basicsr.evaluation.sets import Scale
from liif_basicsr.evaluation.table import FORMS, make_rows, markdown
from liif_basicsr.files import check_output, write
from liif_basicsr.hub.official import to_official


def open_official(folder: Path) -> Render:
    """Return a function that renders with the official EDSR-baseline-LIIF (random weights, float32, CPU)."""
    if torch.cuda.is_available():
        raise LIIFError("--official: runs on the CPU only; set CUDA_VISIBLE_DEVICES to an empty string")
    checkpoint = to_official({"network_g": NETWORK, "params": build_network(NETWORK).state_dict()})
    return partial(official_render, load_official(folder, checkpoint))


def measure_cost(method: Method, scale: Scale, official: Render | None, runs: int, channels: int) -> Values:
    """Measure multiply-adds per pixel, seconds per megapixel of output, and the speedup over the official code.

    The method and the official code alternately render an image of size LOW, as in benchmark.py.
    """
    lq, size = torch.rand(1, channels, *LOW), (round(LOW[0] * scale[0]), round(LOW[1] * scale[1]))
    base = partial(official, lq, size) if official else None
    with torch.no_grad():
        taken = list(pairs(base, lambda: method.render(lq, size), runs))
    values = {} if method.multiply_adds is None else {"multiply_adds": method.multiply_adds(scale)}
    values["seconds"] = statistics.median(own for _, own in taken) / (size[0] * size[1] / 1e6)
    if official:
        values["ratio"] = statistics.median(theirs / own for theirs, own in taken)
    return values


def run(args: argparse.Namespace) -> None:
    """Measure, write the tables and print one."""
    for path in args.out:
        check_output(path, FORMS)
    if args.figure:
        check_figure(args.figure)
        if "psnr" not in args.metrics:
            raise LIIFError("--figure: needs the PSNR; add psnr to --metrics")
    if args.official and args.channels != 3:
        raise LIIFError(f"--official: the official code takes RGB, but --channels is {args.channels}; remove "
                        "--official or --channels")  # fmt: skip
    official = open_official(args.official) if args.official else None
    found = measured(args, args.metrics, args.reference)
    if found is None:
        return
    methods, eval_sets, results, reference = found
    costs: dict[str, dict[str, Values]] = {}
    if args.cost or args.official or args.figure:
        torch.manual_seed(0)
        for method in methods:
            by_scale = {scale: measure_cost(method, scale, official, args.runs, args.channels)
                        for scale in scales_of(args)}  # fmt: skip
            costs[method.label] = {scale_text(scale): values for scale, values in by_scale.items()}
    rows = make_rows(methods, eval_sets, results, costs, reference)
    metrics = [*args.metrics, *([TO_REFERENCE] if reference else [])]
    print(markdown(rows, metrics))
    for path in args.out:
        write(path, FORMS[path.suffix](rows, metrics).encode())
    if args.figure:
        draw_times(args.figure, methods, eval_sets, results, costs)


def main() -> int:
    """Parse the command line and print the table; bad input is reported in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument(
        "--metrics", nargs="+", choices=METRICS, default=["psnr", "ssim"], help="default: psnr ssim",
    )  # fmt: skip
    parser.add_argument(
        "--reference", metavar="NETWORK", help="also print the PSNR to this network's output, last in each cell",
    )
    parser.add_argument(
        "--cost", action="store_true", help="also print multiply-adds per pixel and the time per megapixel of output",
    )  # fmt: skip
    parser.add_argument("--figure", type=Path, help="plot PSNR against time: .png, .svg, .pdf")
    parser.add_argument("--official", type=Path, help="a clone of https://github.com/yinboc/liif to compare times with")
    parser.add_argument("--runs", type=int, default=7, help="measurements for each time (default: %(default)s)")
    parser.add_argument("--out", type=Path, nargs="+", default=[], help="files to write: .md, .csv, .tex")
    args = parser.parse_args()
    return run_script("tables.py", lambda: run(args), "run it again to continue")


if __name__ == "__main__":
    sys.exit(main())
