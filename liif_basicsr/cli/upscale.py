"""The command `upscale`: an image, a folder or a pattern, enlarged."""
from __future__ import annotations

import argparse
import glob
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from liif_basicsr.hub import add_model_argument
from liif_basicsr.images.notes import noted
from liif_basicsr.images.reading import read
from liif_basicsr.images.size import OutputSize
from liif_basicsr.images.upscale import Enlarger
from liif_basicsr.images.writing import BY_SUFFIX, check_format, format_of, without_needless_alpha
from liif_basicsr.utils.errors import LIIFError
from liif_basicsr.utils.files import atomic_write
from liif_basicsr.utils.memory import check_memory
from liif_basicsr.utils.precision import PRECISIONS, bfloat16_is_fast

Job = tuple[Path, Path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", nargs="+", help="an image, a folder or a pattern such as 'photos/*.jpg'; ./-x for -x")
    parser.add_argument("output", help="the image to write, or a folder if there may be more than one")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--scale", metavar="S", help="a factor, 3.7, or two along y and x, 2x3.5")
    size.add_argument("--size", metavar="HxW", help="height and width in pixels")
    size.add_argument("--long-edge", metavar="N", help="pixels of the longer edge")
    add_model_argument(parser)
    parser.add_argument("--device", help="such as cpu or cuda:0 (default: the GPU if there is one)")
    parser.add_argument(
        "--precision", choices=PRECISIONS,
        help="default: bfloat16 for 8-bit images where the processor is made for it, else float32",
    )  # fmt: skip
    parser.add_argument("--self-ensemble", action="store_true", help="a little better, eight times as slow")
    parser.add_argument("--overwrite", action="store_true", help="replace images that exist")


def run(args: argparse.Namespace) -> int:
    """Enlarge the images; what goes wrong with one is told, also at the end, and the others are made.

    Returns:
        Exit status: 0, or 1 if an image was not made.
    """
    wanted = OutputSize.parse(args.scale, args.size, args.long_edge)
    try:
        jobs = _jobs(args.input, Path(args.output))
    except OSError as error:  # a folder on the way that may not be looked into, a name that is too long
        raise LIIFError(f"{shown(error.filename)}: {error.strerror}") from None
    enlarger = Enlarger(args.model, args.device, args.precision, args.self_ensemble)
    if args.precision == "bfloat16" and not bfloat16_is_fast(enlarger.device):
        print("--precision bfloat16: slower than float32 on this processor, which has no instructions for it",
              file=sys.stderr)  # fmt: skip
    failed = []
    with _terminated_like_interrupted():
        for number, (source, target) in enumerate(jobs, start=1):
            try:
                _enlarge(source, target, wanted, enlarger, args.overwrite, f"{number}/{len(jobs)}")
            except LIIFError as error:
                failed.append(f"{shown(source)}: {error}")
            except OSError as error:
                failed.append(f"{shown(source)}: {shown(error.filename)}: {error.strerror}")
            except (MemoryError, torch.cuda.OutOfMemoryError):
                failed.append(f"{shown(source)}: does not fit memory; ask for a smaller output")
            else:
                continue
            tqdm.write(failed[-1], file=sys.stderr)
    if failed and len(jobs) > 1:
        print(f"\n{len(failed)} of {len(jobs)} images were not made:", *failed, sep="\n  ", file=sys.stderr)
    return 1 if failed else 0


def _enlarge(source: Path, target: Path, wanted: OutputSize, enlarger: Enlarger, overwrite: bool, count: str) -> None:
    if target.exists() and target.samefile(source):
        raise LIIFError("would be replaced by its own enlargement; give another output")
    if target.exists() and not overwrite:
        raise LIIFError(f"{shown(target)} exists already; give another output or --overwrite")
    image = without_needless_alpha(target, read(source))
    for note in image.notes:
        tqdm.write(f"{shown(source)}: {shown(note)}", file=sys.stderr)
    size = wanted.size_of(image.pixels)
    kind = check_format(target, image, size)
    if not kind.metadata and (image.icc or image.exif):
        tqdm.write(f"{shown(target)}: {kind.name} does not keep the colour profile and EXIF", file=sys.stderr)
    needed = enlarger.bytes_needed(image.pixels, size, whole=not kind.streamed)
    check_memory(shown(target), needed, "write a .tif or .png file, which are written as they are made")
    name, shape = f"{count} {shown(source.name)}", (*size, image.pixels.shape[2])
    with tqdm(desc=name, total=size[0] * size[1], unit="px", unit_scale=True, disable=None, leave=False) as bar:
        try:
            with noted() as notes, atomic_write(target) as file:
                kind.write(file, enlarger.strips(image.pixels, size, bar.update), shape, image)
        except LIIFError as error:
            raise LIIFError(f"{shown(target)}: {error}") from None
    for note in notes:
        tqdm.write(f"{shown(target)}: {shown(note)}", file=sys.stderr)
    h, w = image.pixels.shape[:2]
    precision = enlarger.precision_for(image.pixels)
    tqdm.write(f"{shown(target)}: {h}x{w} to {size[0]}x{size[1]} (height x width), {enlarger.device}, {precision}")


def _jobs(inputs: list[str], output: Path) -> list[Job]:
    """Which image becomes which file.

    Raises:
        LIIFError: nothing to enlarge, two images of one name, or an output that cannot be.
    """
    found = [pair for text in inputs for pair in _sources(text)]
    if not found:
        raise LIIFError(f"{shown(inputs[0])}: no images ({' '.join(BY_SUFFIX)}) there")
    single = len(inputs) == 1 and Path(inputs[0]).is_file()
    if single and output.suffix and not output.is_dir():
        try:
            format_of(output)
        except LIIFError as error:
            raise LIIFError(f"{shown(output)}: {error}") from None
        _make_folder(output.parent)
        return [(found[0][0], output)]
    if (output.exists() or output.suffix.lower() in BY_SUFFIX) and not output.is_dir():
        raise LIIFError(f"{shown(output)}: is a file, or named like one; for several images give a folder")
    sources: dict[Path, Path] = {}
    for source, name in found:
        target = output / name
        if target in sources and not sources[target].samefile(source):
            raise LIIFError(f"{shown(source)} and {shown(sources[target])} would both become {shown(target)}")
        sources[target] = source
        _make_folder(target.parent)
    return [(source, target) for target, source in sources.items()]


def _sources(text: str) -> Iterator[tuple[Path, Path]]:
    """Images that an input names, each with its name within the output folder."""
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


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LIIFError(f"{shown(folder)}: cannot be made: {error.strerror}") from None


def shown(name: str | Path) -> str:
    """A name as it can be printed, on one line, whatever characters are in it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the process as Ctrl-C does: what is half written is taken away."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
