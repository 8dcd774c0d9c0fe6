"""Upscale an image, a folder of images, or all images that match a pattern."""
from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from liif_basicsr.cli._arguments import (
    COMPLETE_FILES,
    add_engine_arguments,
    add_model_argument,
    apply_engine_arguments,
    check_output,
    is_missing,
    show,
)
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import CLEAN, find
from liif_basicsr.images.size import OutputSize, changes_aspect, check_strength, parse_bands, show_size
from liif_basicsr.images.suffixes import READ_ONLY_SUFFIXES, WRITABLE, has_image_suffix, writable

if TYPE_CHECKING:
    from liif_basicsr.cli._files import Output
    from liif_basicsr.images.loaded import LoadedImage

ORDER = 1

Job = tuple[Path, Path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = "liif-basicsr upscale INPUT [INPUT ...] [OUTPUT] [options]"
    parser.add_argument(
        "input", nargs="+", metavar="INPUT",
        help="image, folder or quoted pattern such as 'photos/*.jpg'; ./-x for -x. Of several arguments, the last one "
        "is the output, unless -o names it",
    ).complete = COMPLETE_FILES  # type: ignore[attr-defined]  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="OUTPUT",
        help="file to write, or folder for several images (default: next to the input, as photo_x2.jpg)",
    ).complete = COMPLETE_FILES  # type: ignore[attr-defined]  # fmt: skip
    size = parser.add_argument_group("output size (default: --scale 2)")
    size.add_argument("-s", "--scale", metavar="S", help="factor such as 3.7, or two along y and x such as 2x3.5")
    size.add_argument("--size", metavar="WxH", help="width and height in pixels")
    size.add_argument("--width", metavar="W", help="width in pixels; the height keeps the aspect ratio")
    size.add_argument("--height", metavar="H", help="height in pixels; the width keeps the aspect ratio")
    size.add_argument("--long-edge", metavar="N", help="length of the longer edge in pixels")
    network = parser.add_mutually_exclusive_group()
    add_model_argument(network)
    network.add_argument("--method", choices=("nearest", "bicubic"), help="classical upscaling, such as for pixel art")
    parser.add_argument(
        "--strength", type=float, default=1.0, metavar="0..1",
        help=f"weight of the model; the rest is the output of {CLEAN}, which keeps grain and damage (default: 1)",
    )  # fmt: skip
    parser.add_argument("--self-ensemble", action="store_true", help="slightly better, eight times as slow")
    parser.add_argument(
        "--tile-wrap", choices=("x", "y", "xy"),
        help="the image repeats along these axes: xy for seamless textures, x for 360-degree panoramas",
    )  # fmt: skip
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace existing images")
    existing.add_argument("--skip-existing", action="store_true", help="make only images that do not exist yet")
    add_engine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Upscale the images. Errors of single images are reported, and listed again at the end.

    Processes that torchrun started share the images: the next free one makes the next image.

    Returns:
        Exit status: 0, or 1 if an image failed.
    """
    requested = OutputSize.parse(args.scale, args.size, args.width, args.height, args.long_edge)
    inputs, output = _split(args.input, args.output)
    bands = parse_bands(args.bands)
    check_strength(args.strength)
    if args.method is None:
        find(args.model)
    from liif_basicsr.cli._files import Policy, interrupt_on_sigterm, make_file, make_folders, warn_slow_precision
    from liif_basicsr.images.upscale import open_upscaler
    from liif_basicsr.launch.ranks import Ranks

    apply_engine_arguments(args)
    ranks = Ranks()
    ranks.take_gpu(args.device)
    # The first process lists the images, because others could find its outputs.
    jobs = ranks.from_first(lambda: _list_jobs(inputs, output, args.skip_existing, requested))
    upscaler = open_upscaler(
        args.model, args.method, args.device, args.precision, args.self_ensemble, args.strength, args.tile_wrap,
        args.value_range,
    )  # fmt: skip
    if ranks.rank == 0:
        warn_slow_precision(upscaler)
    ranks.from_first(lambda: make_folders(Path(target).parent for _, target in jobs))
    policy = Policy(args.overwrite, args.yes, skip_larger=len(jobs) > 1, bands=bands)

    def make(index: int) -> str | None:
        count = f"{index + 1}/{len(jobs)}" if ranks.rank == 0 else None
        source, target = map(Path, jobs[index])
        return make_file(source, target, policy, count, upscaler, partial(_plan, upscaler, requested))

    with interrupt_on_sigterm():
        results = list(ranks.map(make, len(jobs)))
        failures = [line for line in results if line]
        if failures and len(jobs) > 1:
            print(f"\n{len(failures)} of {len(jobs)} images failed:", *failures, sep="\n  ", file=sys.stderr)
        skipped = results.count("")
        if skipped:
            print(f"{skipped} of {len(jobs)} images skipped: already larger than requested", file=sys.stderr)
        return ranks.end(1 if failures else 0)


def _plan(upscaler, requested: OutputSize, image: LoadedImage) -> Output:
    """Plan the output for an image."""
    from liif_basicsr.cli._files import Output

    size = requested.size_of(image.size)
    keeping = "one factor" if requested.scale else "--width or --height alone"
    return Output(
        upscaler.output_like(image),
        (*size, upscaler.out_channels(image)),
        partial(upscaler.bytes_needed, image, size),
        partial(upscaler.strips, image, size),
        f"warning: {show_size(image.size)} is stretched to {show_size(size)}; {keeping} keeps the aspect ratio"
        if changes_aspect(size, image.size) else "",
    )  # fmt: skip


def _split(words: list[str], output: str | None) -> tuple[list[str], str | None]:
    """Return the inputs, and the output if it is named by `-o` or by the last of several words.

    Raises:
        LIIFError: an input does not exist, or the output cannot be written. This is checked before PyTorch is
            imported, which takes seconds.
    """
    if output is None and len(words) > 1:
        words, output = words[:-1], words[-1]
    for text in (*words, output):
        if text == "-":
            raise LIIFError("-: standard input and output are not supported; name a file")
        if text == "":
            raise LIIFError("upscale: the name of an input or of the output is empty; name a file or folder")
    if "RANK" not in os.environ:  # processes of torchrun report it once, later
        for text in words:
            if is_missing(text) and not glob.has_magic(text):
                raise LIIFError(f"{show(text)}: no such file or folder")
        with _one_line_errors():
            if output is not None and _is_one_file(words, Path(output)):
                check_output(Path(output))
    return words, output


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn errors of the system, such as a parent folder without access or a name that is too long, into LIIFError."""
    try:
        yield
    except OSError as error:
        raise LIIFError(f"{show(error.filename)}: {error.strerror}") from None


def _is_one_file(inputs: list[str], output: Path) -> bool:
    """Return whether the output is a file for a single image, not a folder."""
    return len(inputs) == 1 and Path(inputs[0]).is_file() and bool(output.suffix) and not output.is_dir()


def _list_jobs(
    inputs: list[str], output: str | None, skip_existing: bool, requested: OutputSize
) -> list[tuple[str, str]]:
    """Return the paths of each image to make and of its output; with `skip_existing`, only new outputs."""
    with _one_line_errors():
        jobs = _jobs(inputs, _default_output(inputs[0], requested) if output is None else Path(output))
        new = [job for job in jobs if not (skip_existing and _exists(*job))]
    if len(new) < len(jobs):
        print(f"{len(jobs) - len(new)} of {len(jobs)} images exist already")
    return [(str(source), str(target)) for source, target in new]


def _default_output(text: str, requested: OutputSize) -> Path:
    """Return the output next to an input: `photo_x2.jpg`, or `photos_x2` for a folder."""
    path = Path(text)
    if path.is_dir():
        path = path.resolve()
        return path.with_name(f"{path.name}_{requested.label}")
    if glob.has_magic(text) and not os.path.lexists(path):
        raise LIIFError(f"{text}: a pattern needs an output folder; name it with -o")
    return path.with_name(f"{path.stem}_{requested.label}{writable(path).suffix}")


def _exists(source: Path, target: Path) -> bool:
    """Return whether an output exists, and is not the image itself."""
    return target.exists() and not (source.exists() and target.samefile(source))


def _jobs(inputs: list[str], output: Path) -> list[Job]:
    """Pair each input image with its output file, and print how many other files are skipped.

    Raises:
        LIIFError: the inputs contain no images, two have the same output, or the output is invalid.
    """
    if _is_one_file(inputs, output):
        check_output(output)
        return [(Path(inputs[0]), output)]
    found: list[Job] = []
    for text in inputs:
        images, skipped = _find_images(text, output)
        found += images
        if skipped:
            skipped.sort(key=lambda path: path.name.startswith("."))  # hidden files last
            names = ", ".join(show(path.name) for path in skipped[:3]) + ", ..." * (len(skipped) > 3)
            print(f"{show(text)}: skipped {len(skipped)} that are not images: {names}", file=sys.stderr)
    if not found:
        raise LIIFError(f"{show(inputs[0])}: contains no images ({' '.join(WRITABLE + READ_ONLY_SUFFIXES)})")
    if (output.exists() or output.suffix.lower() in WRITABLE) and not output.is_dir():
        raise LIIFError(f"{show(output)}: is a file, or named like one; several images need a folder, such as -o large")
    sources: dict[Path, Path] = {}
    for source, name in found:
        target = output / writable(name)
        if target in sources and not sources[target].samefile(source):
            raise LIIFError(f"{show(source)} and {show(sources[target])} would have the same output {show(target)}; "
                            "rename one of them, or upscale them into different folders")  # fmt: skip
        sources[target] = source
    return [(source, target) for target, source in sources.items()]


def _find_images(text: str, output: Path) -> tuple[list[Job], list[Path]]:
    """Return the images of an input, each with its path below the output folder, and everything that is skipped."""
    path = Path(text)
    if path.is_dir():
        folder = path
        try:
            files = sorted(path.iterdir())
        except OSError as error:
            raise LIIFError(f"{show(path)}: cannot be read: {error.strerror}") from None
    elif os.path.lexists(path):
        return [(path, Path(path.name))], []
    elif glob.has_magic(text):
        folder = Path(text)
        while glob.has_magic(str(folder)):
            folder = folder.parent
        # Outputs of an earlier run, in a folder inside the input, are not upscaled again.
        inside = output.resolve() if output.resolve() != folder.resolve() else None
        files = [path for path in map(Path, sorted(glob.glob(text, recursive=True)))
                 if not (path.is_dir() or (inside and inside in path.resolve().parents))]  # fmt: skip
    else:
        raise LIIFError(f"{show(path)}: no such file or folder")
    images = [file for file in files if has_image_suffix(file)]
    skipped = [file for file in files if not has_image_suffix(file) and file.resolve() != output.resolve()]
    return [(file, file.relative_to(folder)) for file in images], skipped
