"""Makes data sets: sub-images in LMDB or memory-mapped pixels, benchmark sets, faces, the quickstart's photographs.

    python scripts/prepare_data.py folder my_photos datasets/my_photos
    python scripts/prepare_data.py div2k
    python scripts/prepare_data.py benchmark
    python scripts/prepare_data.py celeba_hq
    python scripts/prepare_data.py quickstart
    python scripts/prepare_data.py teach my_photos datasets/my_pairs --teacher realesrgan-x4plus --degradation photo

It may be interrupted at any time and run again: a data set appears under its name only when it is complete, and pairs
of `teach` are kept as they are made. `--check` with `folder` or `div2k` lists corrupt images and writes nothing.
"""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from liif_basicsr.data.degradations import Degradation
from liif_basicsr.data.prepare import images, sets
from liif_basicsr.data.prepare.celeba_hq import celeba_hq as make_celeba_hq
from liif_basicsr.data.prepare.teach import Lessons
from liif_basicsr.data.prepare.teach import teach as make_pairs
from liif_basicsr.data.source import ImageSource
from liif_basicsr.devices import PRECISIONS, best_precision
from liif_basicsr.errors import LIIFError, run_script
from liif_basicsr.hub.teacher import Teacher

# Those that this process may use, where the system knows.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def folder(args: argparse.Namespace) -> int:
    """Images of any size."""
    if args.out is None and not args.check:
        raise LIIFError("folder: name the data set to make as well, such as datasets/my_photos")
    return check_or_store(images.open_any(args.folder), args.out or args.folder, args)


def div2k(args: argparse.Namespace) -> int:
    """DIV2K's 800 training images."""
    name = "DIV2K_train_HR" if args.pixels else "DIV2K_train_HR_sub"
    return check_or_store(sets.open_div2k(args.folder), args.folder.parent / name, args)


def benchmark(args: argparse.Namespace) -> int:
    """Set5, Set14, B100, Urban100."""
    return report(sets.benchmark(args.folder, args.out), args.out)


def celeba_hq(args: argparse.Namespace) -> int:
    """Square images, at 256, 128, 64 and 32 pixels, and split.json."""
    return report(make_celeba_hq(args.folder, args.out, args.processes), args.out)


def quickstart(args: argparse.Namespace) -> int:
    """Photographs that scikit-image ships."""
    sets.quickstart(args.out)
    print(f"{args.out}/train.lmdb and {args.out}/val are ready")
    return 0


def teach(args: argparse.Namespace) -> int:
    """Pairs to learn from a teacher: degraded crops, what it makes of them, and the originals."""
    degradation = Degradation(yaml_of(args.degradation), "--degradation")
    teacher = Teacher(args.teacher, args.precision)
    lessons = Lessons(images.open_any(args.folder), teacher, degradation, args.lq_size, args.seed, args.plain)
    made = make_pairs(lessons, args.out, args.count, args.processes)
    print(f"{made} pairs made, {args.out} is ready. In an options file:")
    print(f"    type: ArbitraryScalePairedDataset\n    dataroot_lq: {args.out}/lq.lmdb")
    print(f"    dataroot_gt: {args.out}/teacher.lmdb  # gt.lmdb holds the originals")
    print(f"    io_backend: {{type: lmdb}}\n    scales: [{teacher.scale}]\n    scale_range: [1, {teacher.scale}]")
    return 0


def yaml_of(text: str) -> Any:
    """What a text of the command line stands for: a block where it is one, else the text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise LIIFError(f"--degradation: {text!r} is no YAML, such as '{{type: photo, clean_prob: 0.1}}'") from None


def report(made: list[Path], out: Path) -> int:
    """Print what was made."""
    for path in made:
        print(path)
    if not made:
        print(f"{out} is complete; remove what should be made again")
    return 0


def check_or_store(source: ImageSource, out: Path, args: argparse.Namespace) -> int:
    """List corrupt images, or store the images as `out` with the suffix of its kind."""
    if args.check:
        wrong = images.corrupt(source, args.processes)
        print(*wrong, f"{len(wrong)} of {len(source)} images in {source.root} are corrupt", sep="\n")
        return 1 if wrong else 0
    kind = "pixels" if args.pixels else "lmdb"
    target = out if out.suffix == f".{kind}" else out.with_name(f"{out.name}.{kind}")
    if target.exists():
        print(f"{target} exists already; remove it to make it again")
        return 0
    settings = images.Settings(**{name: getattr(args, name) for name in images.Settings._fields})
    count = images.store(source, target, settings)
    print(f"{count} images of {len(source)} images. In an options file:")
    print(f"    dataroot_gt: {target}\n    io_backend: {{type: {kind}}}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int], stores: bool) -> argparse.ArgumentParser:
        sub = commands.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        sub.set_defaults(run=run)
        if stores:
            add_store_options(sub)
        return sub

    sub = command(folder, stores=True)
    sub.add_argument("folder", type=Path, help="images: a folder, an LMDB, or pixels made with --pixels")
    sub.add_argument("out", type=Path, nargs="?", help="the data set to make; .lmdb or .pixels is added")
    sub = command(div2k, stores=True)
    sub.add_argument("folder", type=Path, nargs="?", default=Path("datasets/DIV2K/DIV2K_train_HR"))
    sub = command(benchmark, stores=False)
    sub.add_argument("folder", type=Path, nargs="?", default=Path("datasets/benchmark"), help="unpacked benchmark.tar")
    sub.add_argument("--out", type=Path, default=Path("datasets"), help="where SET/GT_x2 and so on are made")
    sub = command(celeba_hq, stores=False)
    sub.add_argument("folder", type=Path, nargs="?", default=Path("datasets/data1024x1024"), help="square images")
    sub.add_argument("--out", type=Path, default=Path("datasets/CelebA-HQ"), help="where 256 and so on are made")
    add_processes(sub)
    sub = command(quickstart, stores=False)
    sub.add_argument("--out", type=Path, default=Path("datasets/quickstart"))
    add_teach_options(command(teach, stores=False))
    return top


def add_teach_options(sub: argparse.ArgumentParser) -> None:
    """What pairs are made of, and how."""
    sub.add_argument("folder", type=Path, help="photographs: a folder, an LMDB, or pixels made with --pixels")
    sub.add_argument("out", type=Path, help="the folder to make; where it is there, pairs are added to it")
    sub.add_argument("--teacher", default="realesrgan-x4plus", help="a known network or a file (%(default)s)")
    sub.add_argument("--degradation", default="photo",
                     help="a type or a block, such as '{type: photo, clean_prob: 0.1}' (%(default)s)")
    sub.add_argument("--count", type=positive, default=1000, help="pairs in all (%(default)s)")
    sub.add_argument("--lq_size", type=positive, default=64, help="side of the inputs (%(default)s)")
    sub.add_argument("--plain", type=share, default=0.0, metavar="SHARE",
                     help="share of pairs of one colour or gradient, to be left as they are (%(default)s)")
    sub.add_argument("--seed", type=int, default=0, help="another one makes other pairs (%(default)s)")
    sub.add_argument("--precision", choices=PRECISIONS, default=best_precision(torch.device("cpu"), 8),
                     help="(%(default)s, the fastest here)")
    add_processes(sub)


def add_store_options(sub: argparse.ArgumentParser) -> None:
    """Add the options of how images are stored."""
    default = images.Settings()
    sub.add_argument("--crop", type=positive, default=default.crop, help="side of a sub-image (%(default)s)")
    sub.add_argument("--step", type=positive, default=default.step, help="distance between sub-images (%(default)s)")
    sub.add_argument("--level", type=int, choices=range(10), default=default.level, metavar="0-9",
                     help="PNG compression (%(default)s); 0 is the fastest to read, at twice the size")
    sub.add_argument("--pixels", action="store_true", help="store whole images as decoded pixels, to be memory-mapped")
    sub.add_argument("--check", action="store_true", help="list corrupt images and write nothing")
    add_processes(sub)


def add_processes(sub: argparse.ArgumentParser) -> None:
    """Add the option of the number of processes."""
    sub.add_argument("--processes", type=positive, default=CORES, help="number of worker processes (%(default)s)")


def share(value: str) -> float:
    """A number from 0 to 1."""
    number = float(value)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def positive(value: str) -> int:
    """A whole number of at least 1."""
    number = int(value)
    if number < 1:
        raise ValueError
    return number


def main() -> int:
    """Run one command; bad input is reported in one line."""
    args = parser().parse_args()
    return run_script("prepare_data", lambda: args.run(args), "what is complete is kept; run it again to go on")


if __name__ == "__main__":
    sys.exit(main())
