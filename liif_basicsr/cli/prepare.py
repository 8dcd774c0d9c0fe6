"""Make data sets for training and validation."""
from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liif_basicsr.cli._arguments import PRECISIONS
from liif_basicsr.errors import LIIFError

if TYPE_CHECKING:
    from liif_basicsr.data.source import ImageSource

ORDER = 8
EXAMPLES = """
  liif-basicsr prepare folder my_photos datasets/my_photos
  liif-basicsr prepare div2k
  liif-basicsr prepare benchmark
  liif-basicsr prepare celeba_hq
  liif-basicsr prepare quickstart
  liif-basicsr prepare teach my_photos datasets/my_pairs --teacher realesrgan-x4plus --degradation photo

A command can be interrupted and run again: a data set appears under its name only when it is complete, and `teach`
keeps the pairs that it has made. With `folder` and `div2k`, --check lists corrupt images and writes nothing."""
TEACHER_BATCH = 32
# Number of cores that this process may use or, if that is unknown, of all cores.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    commands = parser.add_subparsers(dest="data_set", required=True, metavar="SET")

    def command(make: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = commands.add_parser(make.__name__, help=make.__doc__, description=make.__doc__)
        sub.set_defaults(make=make, parser=sub)
        return sub

    sub = command(folder)
    sub.add_argument("folder", type=Path, help="folder of images, an LMDB, or a data set made with --pixels")
    sub.add_argument("out", type=Path, nargs="?", help="data set to write; the suffix .lmdb or .pixels is added")
    sub.add_argument("--channels", type=_positive, default=3,
                     help="number of channels of each image (default: %(default)s)")
    sub.add_argument("--value_range", type=float, nargs=2, metavar=("LOW", "HIGH"),
                     help="raise an error for values outside of this range")
    _add_store_options(sub)
    sub = command(div2k)
    sub.add_argument("folder", type=Path, nargs="?", default=Path("datasets/DIV2K/DIV2K_train_HR"),
                     help="folder of the 800 images (default: %(default)s)")
    _add_store_options(sub)
    sub = command(benchmark)
    sub.add_argument("folder", type=Path, nargs="?", default=Path("datasets/benchmark"),
                     help="folder of the unpacked benchmark.tar (default: %(default)s)")
    sub.add_argument("--out", type=Path, default=Path("datasets"),
                     help="parent folder of the new folders SET/GT_x2 and so on (default: %(default)s)")
    sub = command(celeba_hq)
    sub.add_argument("folder", type=Path, nargs="?", default=Path("datasets/data1024x1024"),
                     help="folder of square images (default: %(default)s)")
    sub.add_argument("--out", type=Path, default=Path("datasets/CelebA-HQ"),
                     help="parent folder of the new folders 256 and so on (default: %(default)s)")
    _add_processes(sub)
    sub = command(quickstart)
    sub.add_argument("--out", type=Path, default=Path("datasets/quickstart"),
                     help="folder to write (default: %(default)s)")
    _add_teach_options(command(teach))


def run(args: argparse.Namespace) -> int:
    """Make the data set."""
    return args.make(args)


def folder(args: argparse.Namespace) -> int:
    """Store images of any size, as an LMDB of sub-images or as the decoded pixels of whole images."""
    from liif_basicsr.data.prepare import storing
    from liif_basicsr.data.source import ANY_RANGE

    if args.out is None and not args.check:
        raise LIIFError(
            "prepare folder: the data set to write is missing; add its path as the second argument: prepare folder "
            f"{args.folder} datasets/my_photos"
        )
    low, high = args.value_range or ANY_RANGE
    if not low < high:
        raise LIIFError(f"--value_range: expected two numbers, the lower one first, got {low:g} {high:g}")
    source = storing.open_any(args.folder, args.channels, (low, high))
    return _check_or_store(source, args.out or args.folder, args)


def div2k(args: argparse.Namespace) -> int:
    """Store DIV2K's 800 training images, like `prepare folder`."""
    from liif_basicsr.data.prepare import sets

    name = "DIV2K_train_HR" if args.pixels else "DIV2K_train_HR_sub"
    return _check_or_store(sets.open_div2k(args.folder), args.folder.parent / name, args)


def benchmark(args: argparse.Namespace) -> int:
    """Make folders of GT and LR images for Set5, Set14, B100 and Urban100."""
    from liif_basicsr.data.prepare import sets

    return _report(sets.benchmark(args.folder, args.out), args.out)


def celeba_hq(args: argparse.Namespace) -> int:
    """Resize square images to 256, 128, 64 and 32 pixels, and write split.json."""
    from liif_basicsr.data.prepare.celeba_hq import celeba_hq as make_celeba_hq

    return _report(make_celeba_hq(args.folder, args.out, args.processes), args.out)


def quickstart(args: argparse.Namespace) -> int:
    """Make a small data set from the photographs that come with scikit-image."""
    from liif_basicsr.data.prepare import sets

    sets.quickstart(args.out)
    print(f"{args.out}/train.lmdb and {args.out}/val are ready")
    return 0


def teach(args: argparse.Namespace) -> int:
    """Make distillation pairs: degraded crops, a teacher's outputs for the crops, and the originals."""
    from liif_basicsr.data.degradations import Degradation
    from liif_basicsr.data.prepare.distillation import DistillationPairs, make_pairs
    from liif_basicsr.data.prepare.storing import open_any
    from liif_basicsr.devices import best_precision, open_device
    from liif_basicsr.hub.teacher import Teacher

    degradation = Degradation(_yaml(args.degradation), "--degradation")
    device = open_device(args.device)
    if args.batch and device.type == "cpu":
        raise LIIFError("--batch: applies only to GPUs, because on the CPU each process upscales its own crops; remove "
                        "the option")  # fmt: skip
    teacher = Teacher(args.teacher, args.precision or best_precision(device, 8), device)
    photos = open_any(args.folder)
    pairs = DistillationPairs(photos, teacher, degradation, args.lq_size, args.seed, args.plain)
    batch = None if device.type == "cpu" else args.batch or TEACHER_BATCH
    made = make_pairs(pairs, args.out, args.count, args.processes, batch)
    print(f"made {made} pairs; {args.out} is ready. To train on it, write in an options file:")
    print(f"    type: ArbitraryScalePairedDataset\n    dataroot_lq: {args.out}/lq.lmdb")
    print(f"    dataroot_gt: {args.out}/teacher.lmdb  # gt.lmdb contains the originals")
    print(f"    io_backend: {{type: lmdb}}\n    scales: [{teacher.scale}]\n    scale_range: [1, {teacher.scale}]")
    return 0


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        example = "'{type: photo, clean_prob: 0.1}'"
        raise LIIFError(f"--degradation: expected a type or a YAML block such as {example}, got {text!r}") from None


def _report(made: list[Path], out: Path) -> int:
    """Print the new folders and files."""
    for path in made:
        print(path)
    if not made:
        print(f"{out} is already complete; to make a part again, remove it first")
    return 0


def _check_or_store(source: ImageSource, out: Path, args: argparse.Namespace) -> int:
    """With `--check`, list corrupt images. Otherwise store the images as `out`, with the suffix .lmdb or .pixels."""
    from liif_basicsr.data.prepare import storing

    if args.check:
        lines = storing.corrupt(source, args.processes)
        print(*lines, f"{len(lines)} of {len(source)} images in {source.root} are corrupt", sep="\n")
        return 1 if lines else 0
    kind = "pixels" if args.pixels else "lmdb"
    if out.name in ("", ".."):
        raise LIIFError(f"{out}: a data set needs a name, such as {out / 'my_photos'}")
    target = out if out.suffix == f".{kind}" else out.with_name(f"{out.name}.{kind}")
    if target.exists():
        print(f"{target} already exists; remove it to make it again")
        return 0
    settings = storing.Settings(**{name: getattr(args, name) for name in storing.Settings._fields})
    count = storing.store(source, target, settings)
    pieces = "images" if args.pixels else "sub-images"
    print(f"stored {count} {pieces} of {len(source)} images. To train on them, write in an options file:")
    print(f"    dataroot_gt: {target}\n    io_backend: {{type: {kind}}}")
    if source.channels != 3:
        print(f"    channels: {source.channels}")
    return 0


def _add_teach_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("folder", type=Path, help="folder of photographs, an LMDB, or a data set made with --pixels")
    sub.add_argument("out", type=Path, help="folder to write; if it exists, pairs are added to it")
    sub.add_argument("--teacher", default="realesrgan-x4plus",
                     help="name or file of the teacher (default: %(default)s)")
    sub.add_argument("--degradation", default="photo",
                     help="type, or block of options such as '{type: photo, clean_prob: 0.1}' (default: %(default)s)")
    sub.add_argument("--count", type=_positive, default=1000, help="total number of pairs (default: %(default)s)")
    sub.add_argument("--lq_size", type=_positive, default=64,
                     help="side length of the degraded crops in pixels (default: %(default)s)")
    sub.add_argument("--plain", type=_share, default=0.0, metavar="SHARE",
                     help="share of pairs that show a single color or a gradient; the teacher does not process them "
                     "(default: %(default)s)")
    sub.add_argument("--seed", type=_natural, default=0,
                     help="seed of the random crops and degradations (default: %(default)s)")
    sub.add_argument("--precision", choices=PRECISIONS,
                     help="precision of the teacher (default: bfloat16 if the device has instructions for it, else "
                     "float32)")
    sub.add_argument("--device", help="device of the teacher, such as cpu or cuda:0 (default: the GPU if there is one)")
    sub.add_argument("--batch", type=_positive,
                     help=f"number of crops that a GPU upscales at a time (default: {TEACHER_BATCH})")
    _add_processes(sub)


def _add_store_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--crop", type=_positive, default=480,
                     help="side length of a sub-image in pixels (default: %(default)s)")
    sub.add_argument("--step", type=_positive, default=240,
                     help="pixels from the start of one sub-image to the start of the next (default: %(default)s)")
    sub.add_argument("--level", type=int, choices=range(10), default=1, metavar="0-9",
                     help="compression level of the PNGs (default: %(default)s); 0 is the fastest to read, but takes "
                     "twice the space")
    sub.add_argument("--pixels", action="store_true", help="store whole images as decoded pixels for memory-mapping")
    sub.add_argument("--check", action="store_true", help="list corrupt images and write nothing")
    _add_processes(sub)


def _add_processes(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--processes", type=_positive, default=CORES,
                     help="number of worker processes (default: %(default)s)")


def _share(value: str) -> float:
    """Parse a number from 0 to 1."""
    with suppress(ValueError):
        if 0 <= float(value) <= 1:
            return float(value)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {value!r}")


def _positive(value: str) -> int:
    """Parse an integer of at least 1."""
    return _natural(value, 1)


def _natural(value: str, low: int = 0) -> int:
    """Parse an integer of at least `low`."""
    with suppress(ValueError):
        if int(value) >= low:
            return int(value)
    raise argparse.ArgumentTypeError(f"expected an integer of at least {low}, got {value!r}")
