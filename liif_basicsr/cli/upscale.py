"""Upscale an image, a folder of images, or all images that match a pattern."""
from __future__ import annotations

import argparse
import glob
import os
import re
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
    is_missing,
    show,
)
from liif_basicsr.errors import LIIFError, errors_about
from liif_basicsr.hub import CLEAN, find
from liif_basicsr.images.size import (
    OutputSize,
    changes_aspect,
    check_strength,
    is_transposed,
    parse_bands,
    show_size,
)
from liif_basicsr.images.suffixes import READ_ONLY_SUFFIXES, WRITABLE, check_writable, has_image_suffix, writable

if TYPE_CHECKING:
    from liif_basicsr.cli._files import Output
    from liif_basicsr.images.loaded import LoadedImage
    from liif_basicsr.images.upscale import Resampler, Upscaler

ORDER = 1

# Stem of a default output, see `OutputSize.label`. Outputs of --long-edge, such as photo_1600, do not match, because
# cameras use such names, too.
DEFAULT_NAME = re.compile(r"(.+)_(x[\d.]+(x[\d.]+)?|\d+x\d+|[wh]\d+)")

Job = tuple[Path, Path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = "liif-basicsr upscale INPUT [INPUT ...] [OUTPUT] [options]"
    parser.add_argument(
        "input", nargs="+", metavar="INPUT",
        help="image, folder, or quoted pattern such as 'photos/*.jpg'; write ./-x for a file named -x. If there are "
        "several arguments and no -o, the last one is the output",
    ).complete = COMPLETE_FILES  # type: ignore[attr-defined]  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="OUTPUT",
        help="file to write, or folder for several images (default: next to the input, such as photo_x2.jpg)",
    ).complete = COMPLETE_FILES  # type: ignore[attr-defined]  # fmt: skip
    size = parser.add_argument_group("output size (default: --scale 2)")
    size.add_argument("-s", "--scale", metavar="S", help="factor, such as 3.7")
    size.add_argument("--size", metavar="WxH", help="width and height in pixels, such as 1920x1080")
    size.add_argument("--width", metavar="W", help="width in pixels; the height keeps the aspect ratio")
    size.add_argument("--height", metavar="H", help="height in pixels; the width keeps the aspect ratio")
    size.add_argument("--long-edge", metavar="N", help="length of the longer edge in pixels")
    network = parser.add_mutually_exclusive_group()
    add_model_argument(network)
    network.add_argument(
        "--method", choices=("nearest", "bicubic"),
        help="interpolate instead of using a model; nearest suits pixel art",
    )  # fmt: skip
    parser.add_argument(
        "--strength", type=float, default=1.0, metavar="0..1",
        help=f"weight of the model in a mix with {CLEAN}, which keeps grain and defects (default: 1, only the model)",
    )  # fmt: skip
    parser.add_argument(
        "--self-ensemble", action="store_true",
        help="average over the eight flips and transposes: slightly better, but takes eight times as long",
    )  # fmt: skip
    parser.add_argument(
        "--tile-wrap", choices=("x", "y", "xy"),
        help="treat the image as repeating along these axes: xy for seamless textures, x for 360-degree panoramas",
    )  # fmt: skip
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    existing.add_argument("--skip-existing", action="store_true", help="skip images whose output already exists")
    add_engine_arguments(parser.add_argument_group("device, precision and data"))


def run(args: argparse.Namespace) -> int:
    """Upscale the images. An image that fails is reported at once, and again in a list at the end.

    Processes that torchrun started share the images: a process that is free takes the next image.

    Returns:
        Exit status: 0, or 1 if an image failed.
    """
    requested = OutputSize.parse(args.scale, args.size, args.width, args.height, args.long_edge)
    inputs, output = _split(args.input, args.output)
    bands = parse_bands(args.bands)
    check_strength(args.strength)
    if args.method is None:
        find(args.model)
    from liif_basicsr.cli._files import FileProcessor, interrupt_on_signals, make_folders, warn_slow_precision
    from liif_basicsr.images.upscale import open_upscaler
    from liif_basicsr.launch.ranks import Ranks

    apply_engine_arguments(args)
    ranks = Ranks()
    ranks.take_gpu(args.device)
    # Only the first process lists the images. The others could mistake its first outputs for inputs.
    jobs = ranks.from_first(lambda: _list_jobs(inputs, output, args.skip_existing, requested))
    upscaler = open_upscaler(
        args.model, args.method, args.device, args.precision, args.self_ensemble, args.strength, args.tile_wrap,
        args.value_range,
    )  # fmt: skip
    if ranks.rank == 0:
        warn_slow_precision(upscaler)
    ranks.from_first(lambda: make_folders(Path(target).parent for _, target in jobs))
    several = len(inputs) > 1 or not Path(inputs[0]).is_file()  # a folder or pattern counts, even if one image is left
    hint = " or --skip-existing" if several else ""
    if len(args.input) == 2 and args.output is None:
        hint += "; to upscale both images, name a folder with -o"
    mixed = f"strength {args.strength:g}" if args.strength < 1 else ""
    processor = FileProcessor(
        upscaler, args.method or args.model, args.overwrite, hint, args.yes, several, bands, mixed
    )

    def make(index: int) -> str | None:
        count = f"{index + 1}/{len(jobs)}" if ranks.rank == 0 else None
        source, target = map(Path, jobs[index])
        return processor.process(source, target, partial(_plan, upscaler, requested), count)

    with interrupt_on_signals():
        results = list(ranks.map(make, len(jobs)))
        failures = [line for line in results if line]
        if failures and len(jobs) > 1:
            print(f"\n{len(failures)} of {len(jobs)} images failed:", *failures, sep="\n  ", file=sys.stderr)
        skipped = results.count("")
        if skipped:
            print(f"{skipped} of {len(jobs)} images skipped: they are already larger than requested", file=sys.stderr)
        return ranks.end(1 if failures else 0)


def _plan(upscaler: Upscaler | Resampler, requested: OutputSize, image: LoadedImage) -> Output:
    """Plan the output for an image."""
    from liif_basicsr.cli._files import Output

    size = requested.size_of(image.size)
    if requested.width and requested.height and is_transposed(size, image.size):
        y, x = size[0] / image.size[0], size[1] / image.size[1]
        raise LIIFError(f"width and height of {show_size(size)} seem to be swapped, because the image has "
                        f"{show_size(image.size)} pixels; pass --size {show_size(size[::-1])}, or if you do want "
                        f"{show_size(size)}, pass --scale {y:.6g}x{x:.6g}")  # fmt: skip
    note = ""
    if changes_aspect(size, image.size):
        remedy = "one factor" if requested.scale else "only --width or only --height"
        note = (f"warning: stretched from {show_size(image.size)} to {show_size(size)}; pass {remedy} to keep the "
                "aspect ratio")  # fmt: skip
    return Output(size, partial(upscaler.strips, image, size), note)


def _split(words: list[str], output: str | None) -> tuple[list[str], str | None]:
    """Return the inputs, and the output if `-o` or the last of several words names it.

    The paths are checked here, before the slow import of PyTorch.

    Raises:
        LIIFError: an input does not exist, or the output cannot be written.
    """
    if output is None and len(words) > 1:
        words, output = words[:-1], words[-1]
    for text in (*words, output):
        if text == "-":
            raise LIIFError("-: standard input and output are not supported; name a file")
        if text == "":
            raise LIIFError("upscale: the name of an input or of the output is empty; name a file or folder")
    if "RANK" not in os.environ:  # under torchrun, the first process checks this later, so that it is reported once
        for text in words:
            if is_missing(text) and not glob.has_magic(text):
                raise LIIFError(f"{show(text)}: no such file or folder")
        with _one_line_errors():
            if output is not None and _is_one_file(words, Path(output)):
                with errors_about(show(output)):
                    check_writable(Path(output))
    return words, output


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn system errors, for example about a folder without access or a name that is too long, into LIIFError."""
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
    """Return the input and output path of each image. With `skip_existing`, leave out images whose output exists."""
    with _one_line_errors():
        jobs = _jobs(inputs, _default_output(inputs[0], requested) if output is None else Path(output))
        new = [job for job in jobs if not (skip_existing and _exists(*job))]
    if len(new) < len(jobs):
        print(f"{len(jobs) - len(new)} of {len(jobs)} images skipped: their outputs already exist")
    return [(str(source), str(target)) for source, target in new]


def _default_output(text: str, requested: OutputSize) -> Path:
    """Return the output's path next to the input, such as `photo_x2.jpg`, or `photos_x2` for a folder."""
    path = Path(text)
    if path.is_dir():
        path = path.resolve()
        if not path.name:
            raise LIIFError(f"{text}: an output next to it is not possible; name a folder with -o")
        return path.with_name(f"{path.name}_{requested.label}")
    if glob.has_magic(text) and not os.path.lexists(path):
        raise LIIFError(f"{text}: a pattern needs an output folder; name it with -o")
    return path.with_name(f"{path.stem}_{requested.label}{writable(path).suffix}")


def _exists(source: Path, target: Path) -> bool:
    """Return whether an output exists and is a different file than the input."""
    return target.exists() and not (source.exists() and target.samefile(source))


def _jobs(inputs: list[str], output: Path) -> list[Job]:
    """Pair each input image with its output file.

    Raises:
        LIIFError: the inputs contain no images, two images would have the same output, or the output is invalid.
    """
    if _is_one_file(inputs, output):
        with errors_about(show(output)):
            check_writable(output)
        return [(Path(inputs[0]), output)]
    found = [job for text in inputs for job in _find_images(text, output)]
    if not found:
        raise LIIFError(f"{show(inputs[0])}: contains no images; their names must end in one of "
                        f"{' '.join(WRITABLE + READ_ONLY_SUFFIXES)}")  # fmt: skip
    if (output.exists() or output.suffix.lower() in WRITABLE) and not output.is_dir():
        raise LIIFError(f"{show(output)}: is a file, or is named like one; several images need a folder, such as "
                        "-o large")  # fmt: skip
    sources: dict[Path, Path] = {}
    for source, name in found:
        target = output / writable(name)
        if target in sources and not sources[target].samefile(source):
            raise LIIFError(f"{show(source)} and {show(sources[target])} would have the same output {show(target)}; "
                            "rename one of them, or upscale them into different folders")  # fmt: skip
        sources[target] = source
    return [(source, target) for target, source in sources.items()]


def _find_images(text: str, output: Path) -> list[Job]:
    """Return the images of a file, folder or pattern, each with its output path in the output folder.

    Print which files of a folder or pattern are skipped: those that are not images, and images named like the default
    output (such as `photo_x2.jpg`) of another image in the same folder.
    """
    path = Path(text)
    if path.is_dir():
        folder = path
        try:
            files = sorted(path.iterdir())
        except OSError as error:
            raise LIIFError(f"{show(path)}: cannot be read: {error.strerror}") from None
    elif os.path.lexists(path):
        return [(path, Path(path.name))]
    elif glob.has_magic(text):
        folder = Path(text)
        while glob.has_magic(str(folder)):
            folder = folder.parent
        # If the output folder lies inside the input folder, the outputs of an earlier run are not upscaled again.
        inside = output.resolve() if output.resolve() != folder.resolve() else None
        files = [path for path in map(Path, sorted(glob.glob(text, recursive=True)))
                 if not (path.is_dir() or (inside and inside in path.resolve().parents))]  # fmt: skip
    else:
        raise LIIFError(f"{show(path)}: no such file or folder")
    images = [file for file in files if has_image_suffix(file)]
    originals = {file.with_suffix("") for file in images}
    earlier = {file for file in images
               if (name := DEFAULT_NAME.fullmatch(file.stem)) and file.with_name(name[1]) in originals}  # fmt: skip
    skipped = [file for file in files if not has_image_suffix(file) and file.resolve() != output.resolve()]
    if earlier:
        print(f"{show(text)}: skipped earlier outputs, going by their names: {_first_names(sorted(earlier))}; to "
              "upscale one again, name the file itself", file=sys.stderr)  # fmt: skip
    if skipped:
        skipped.sort(key=lambda path: path.name.startswith("."))  # hidden files last
        print(f"{show(text)}: skipped {len(skipped)} files or folders that are not images: {_first_names(skipped)}",
              file=sys.stderr)  # fmt: skip
    return [(file, file.relative_to(folder)) for file in images if file not in earlier]


def _first_names(paths: list[Path]) -> str:
    return ", ".join(show(path.name) for path in paths[:3]) + ", ..." * (len(paths) > 3)
