"""Print a table of networks on sets and scales: PSNR and SSIM by the paper's protocols, with the paper's numbers.

    python scripts/tables.py bicubic liif-fast mine=net_g_latest.pth --sets Set5 Set14 --scales 2 3 4 6 8 --out t.md
    python scripts/tables.py bicubic liif-photo --sets Kodak24 --scales 4 --degradation jpeg:60 --protocol div2k \
        --metrics psnr niqe --reference realesrgan-x4plus

Sets are written by `prepare benchmark`, DIV2K as downloaded, or any folder of images (NAME=FOLDER). Results are saved
at once: an interrupted run continues, and only changed checkpoints or images are measured again. The processes of
torchrun share the images.
"""
from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from benchmarking.cases import HIGH, LOW, NETWORK
from benchmarking.official import load_official, official_render
from benchmarking.timing import pairs

from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.evaluation.command import add_arguments, measured
from liif_basicsr.evaluation.methods import Method
from liif_basicsr.evaluation.output import check_output
from liif_basicsr.evaluation.results import METRICS, TO_REFERENCE, Values
from liif_basicsr.evaluation.table import FORMS, make_rows, markdown
from liif_basicsr.files import write
from liif_basicsr.hub.official import to_official


def measure_times(methods: Sequence[Method], official: Path | None, runs: int) -> dict[str, Values]:
    """Measure the time per megapixel of output in seconds, and the speedup over the official code, by label.

    The official code runs EDSR-baseline-LIIF in float32 on the CPU, alternating with each method, as in benchmark.py.
    """
    if official and torch.cuda.is_available():
        raise LIIFError("--official: runs on the CPU only; set CUDA_VISIBLE_DEVICES to an empty string")
    torch.manual_seed(0)
    lq, base = torch.rand(1, 3, *LOW), None
    if official:
        checkpoint = to_official({"network_g": NETWORK, "params": build_network(NETWORK).state_dict()}, "official")
        net = load_official(official, checkpoint)
        base = lambda: official_render(net, lq, HIGH)  # noqa: E731
    times = {}
    for method in methods:
        taken = list(pairs(base, lambda render=method.render: render(lq, HIGH), runs))
        times[method.label] = {"seconds": statistics.median(own for _, own in taken) / (HIGH[0] * HIGH[1] / 1e6)}
        if base:
            times[method.label]["ratio"] = statistics.median(theirs / own for theirs, own in taken)
    return times


def run(args: argparse.Namespace) -> None:
    """Measure, write the tables and print one."""
    for path in args.out:
        check_output(path, FORMS)
    found = measured(args, args.metrics, args.reference)
    if found is None:
        return
    methods, eval_sets, results, reference = found
    times = measure_times(methods, args.official, args.runs) if args.time or args.official else {}
    rows = make_rows(methods, eval_sets, results, times, reference)
    metrics = [*args.metrics, *([TO_REFERENCE] if reference else [])]
    print(markdown(rows, metrics))
    for path in args.out:
        write(path, FORMS[path.suffix](rows, metrics).encode())


def main() -> int:
    """Parse the command line and print the table; bad input is reported in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument(
        "--metrics", nargs="+", choices=METRICS, default=["psnr", "ssim"], help="default: psnr ssim",
    )  # fmt: skip
    parser.add_argument("--reference", metavar="NETWORK", help="also print PSNR to its output, last in each cell")
    parser.add_argument("--time", action="store_true", help="also measure the time per megapixel of output")
    parser.add_argument("--official", type=Path, help="a clone of https://github.com/yinboc/liif to compare times with")
    parser.add_argument("--runs", type=int, default=7, help="measurements of each time (default: %(default)s)")
    parser.add_argument("--out", type=Path, nargs="+", default=[], help="files to write: .md, .csv, .tex")
    args = parser.parse_args()
    return run_script("tables.py", lambda: run(args), "run it again to continue")


if __name__ == "__main__":
    sys.exit(main())
