"""The command `upscale`: enlarge an image, a folder, or all images that match a pattern."""
from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from liif_basicsr.cli.files import (
    Output,
    add_engine_arguments,
    check_target,
    make_file,
    make_folder,
    note_slow_precision,
    shown,
    terminated_like_interrupted,
)
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import CLEAN
from liif_basicsr.images.reading import LoadedImage
from liif_basicsr.images.size import OutputSize
from liif_basicsr.images.upscale import Enlarger
from liif_basicsr.images.writing import BY_SUFFIX
from liif_basicsr.launch.ranks import Ranks

Job = tuple[Path, Path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", nargs="+", help="images, folders or patterns such as 'photos/*.jpg'; ./-x for -x")
    parser.add_argument("output", help="the image to write, or a folder for several images")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--scale", metavar="S", help="a factor such as 3.7, or two along y and x such as 2x3.5")
    size.add_argument("--size", metavar="HxW", help="height and width in pixels")
    size.add_argument("--long-edge", metavar="N", help="pixels along the longer edge")
    existing = add_engine_arguments(parser)
    existing.add_argument("--skip-existing", action="store_true", help="make only the images that do not exist yet")
    parser.add_argument(
        "--strength", type=float, default=1.0, metavar="0..1",
        help=f"of the model; the rest is what {CLEAN} makes, which keeps grain and damage (default: 1)",
    )  # fmt: skip
    parser.add_argument("--self-ensemble", action="store_true", help="slightly better, eight times as slow")


def run(args: argparse.Namespace) -> int:
    """Enlarge the images; errors with one are reported, and listed again at the end, while the others are made.

    Processes that torchrun started share the images, each of which is made by whichever process is free.

    Returns:
        Exit status: 0, or 1 if an image was not made.
    """
    wanted = OutputSize.parse(args.scale, args.size, args.long_edge)
    ranks = Ranks()
    ranks.take_gpu(args.device)
    # Of one process, for another would find what the first has written in the meantime.
    jobs = ranks.from_first(lambda: _wanted_jobs(args))
    enlarger = Enlarger(args.model, args.device, args.precision, args.self_ensemble, args.strength)
    if ranks.rank == 0:
        note_slow_precision(enlarger)

    def plan(image: LoadedImage) -> Output:
        size = wanted.size_of(image.pixels)
        return Output(
            size,
            lambda whole: enlarger.bytes_needed(image.pixels, size, whole),
            lambda done: enlarger.strips(image.pixels, size, done),
        )

    def make(index: int) -> str | None:
        count = f"{index + 1}/{len(jobs)}" if ranks.rank == 0 else None
        source, target = map(Path, jobs[index])
        return make_file(source, target, args.overwrite, count, enlarger, plan)

    with terminated_like_interrupted():
        failed = [line for line in ranks.map(make, len(jobs)) if line]
        if failed and len(jobs) > 1:
            print(f"\n{len(failed)} of {len(jobs)} images were not made:", *failed, sep="\n  ", file=sys.stderr)
        return ranks.end(1 if failed else 0)


def _wanted_jobs(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The paths of each image to make and of its output; with `--skip-existing` those whose output does not exist."""
    try:
        jobs = _jobs(args.input, Path(args.output))
        new = [job for job in jobs if not (args.skip_existing and _exists(*job))]
    except OSError as error:  # such as a parent folder without access, or a name that is too long
        raise LIIFError(f"{shown(error.filename)}: {error.strerror}") from None
    if len(new) < len(jobs):
        print(f"{len(jobs) - len(new)} of {len(jobs)} images exist already")
    return [(str(source), str(target)) for source, target in new]


def _exists(source: Path, target: Path) -> bool:
    """Whether an output exists, and is not the image itself."""
    return target.exists() and not (source.exists() and target.samefile(source))


def _jobs(inputs: list[str], output: Path) -> list[Job]:
    """Pair each input image with its output file.

    Raises:
        LIIFError: there are no images, two would become the same file, or the output is invalid.
    """
    found = [pair for text in inputs for pair in _sources(text)]
    if not found:
        raise LIIFError(f"{shown(inputs[0])}: no images ({' '.join(BY_SUFFIX)}) there")
    single = len(inputs) == 1 and Path(inputs[0]).is_file()
    if single and output.suffix and not output.is_dir():
        check_target(output)
        return [(found[0][0], output)]
    if (output.exists() or output.suffix.lower() in BY_SUFFIX) and not output.is_dir():
        raise LIIFError(f"{shown(output)}: is a file, or named like one; give a folder for several images")
    sources: dict[Path, Path] = {}
    for source, name in found:
        target = output / name
        if target in sources and not sources[target].samefile(source):
            raise LIIFError(f"{shown(source)} and {shown(sources[target])} would both become {shown(target)}")
        sources[target] = source
        make_folder(target.parent)
    return [(source, target) for target, source in sources.items()]


def _sources(text: str) -> Iterator[tuple[Path, Path]]:
    """The images that an input stands for, each with its path below the output folder."""
    path = Path(text)
    if path.is_dir():
        try:
            inside = sorted(path.iterdir())
        except OSError as error:
            raise LIIFError(f"{shown(path)}: cannot be read: {error.strerror}") from None
        yield from ((file, Path(file.name)) for file in inside if file.suffix.lower() in BY_SUFFIX)
    elif os.path.lexists(path) or not glob.has_magic(text):
        if not os.path.lexists(path):
            raise LIIFError(f"{shown(path)}: no such file or folder")
        yield path, Path(path.name)
    else:
        fixed = Path(text)
        while glob.has_magic(str(fixed)):
            fixed = fixed.parent
        found = (Path(match) for match in sorted(glob.glob(text, recursive=True)))
        yield from ((file, file.relative_to(fixed)) for file in found if file.suffix.lower() in BY_SUFFIX)
