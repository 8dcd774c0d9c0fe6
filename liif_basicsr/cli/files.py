"""What commands that write image files share: their arguments, and one image read, processed and written."""
from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import torch
from tqdm import tqdm

from liif_basicsr.devices import PRECISIONS, bfloat16_is_fast
from liif_basicsr.errors import LIIFError
from liif_basicsr.files import atomic_write
from liif_basicsr.hub import DEFAULT, add_model_argument
from liif_basicsr.images.engine import Engine
from liif_basicsr.images.notes import collect_notes
from liif_basicsr.images.reading import LoadedImage, read
from liif_basicsr.images.writing import check_format, format_of, without_needless_alpha
from liif_basicsr.rendering.memory import check_memory


class Output(NamedTuple):
    """The output planned for an image.

    size: (H, W).
    bytes_needed: estimates the memory for it; its argument says whether the whole output is kept in memory.
    strips: renders it from top to bottom; its argument is called with the number of newly rendered pixels.
    """

    size: tuple[int, int]
    bytes_needed: Callable[[bool], int]
    strips: Callable[[Callable[[int], object]], Iterator[np.ndarray]]


Plan = Callable[[LoadedImage], Output]


def add_engine_arguments(parser: argparse.ArgumentParser, model: str = DEFAULT) -> argparse._MutuallyExclusiveGroup:
    """Declare the arguments for the network, its device and precision, and for existing files.

    Returns:
        The group of what is done about existing files, of which only one argument may be given.
    """
    add_model_argument(parser, model)
    parser.add_argument("--device", help="such as cpu or cuda:0 (default: the GPU if there is one)")
    parser.add_argument(
        "--precision", choices=PRECISIONS,
        help="default: bfloat16 for 8-bit images if the processor has instructions for it, else float32",
    )  # fmt: skip
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace existing images")
    return existing


def note_slow_precision(engine: Engine) -> None:
    """Report a precision that is slow on this machine."""
    if engine.precision == "bfloat16" and not bfloat16_is_fast(engine.device):
        print("--precision bfloat16: slower than float32 on this processor, which has no instructions for it",
              file=sys.stderr)  # fmt: skip


def _say(line: str, file: TextIO | None = None) -> None:
    """Print a line above the progress bar, in one piece: other processes that torchrun started print as well."""
    tqdm.write(f"{line}\n", file=file, end="")


def make_file(
    source: Path, target: Path, overwrite: bool, count: str | None, engine: Engine, plan: Plan
) -> str | None:
    """Read an image, process it and write the output; report an error on stderr.

    Args:
        count: stands before the name in the progress bar, such as `1/3`; None for no bar.
        plan: says what to make of the image.

    Returns:
        The error in one line, or None.
    """
    try:
        _make_file(source, target, overwrite, count, engine, plan)
        return None
    except LIIFError as error:
        failed = f"{shown(source)}: {error}"
    except OSError as error:
        failed = f"{shown(source)}: {shown(error.filename)}: {error.strerror}"
    except (MemoryError, torch.cuda.OutOfMemoryError):
        failed = f"{shown(source)}: does not fit in memory; ask for a smaller output"
    _say(failed, file=sys.stderr)
    return failed


def _make_file(
    source: Path, target: Path, overwrite: bool, count: str | None, engine: Engine, plan: Plan
) -> None:
    if target.exists() and target.samefile(source):
        raise LIIFError("would be overwritten by its own output; give another output")
    if target.exists() and not overwrite:
        raise LIIFError(f"{shown(target)} already exists; give another output or --overwrite")
    image = without_needless_alpha(target, read(source))
    for note in image.notes:
        _say(f"{shown(source)}: {shown(note)}", file=sys.stderr)
    output = plan(image)
    size = output.size
    kind = check_format(target, image, size)
    if not kind.metadata and (image.icc or image.exif):
        _say(f"{shown(target)}: {kind.name} does not keep the colour profile and EXIF", file=sys.stderr)
    needed = output.bytes_needed(not kind.streamed)
    check_memory(shown(target), needed, "write a .tif or .png, which need not be whole in memory")
    name, shape = f"{count} {shown(source.name)}".strip(), (*size, image.pixels.shape[2])
    silent = True if count is None else None  # None: where there is no terminal
    with tqdm(desc=name, total=size[0] * size[1], unit="px", unit_scale=True, disable=silent, leave=False) as bar:
        try:
            with collect_notes() as notes, atomic_write(target) as file:
                kind.write(file, output.strips(bar.update), shape, image)
        except LIIFError as error:
            raise LIIFError(f"{shown(target)}: {error}") from None
    for note in notes:
        _say(f"{shown(target)}: {shown(note)}", file=sys.stderr)
    h, w = image.pixels.shape[:2]
    precision = engine.precision_for(image.pixels)
    _say(f"{shown(target)}: {h}x{w} to {size[0]}x{size[1]} (height x width), {engine.device}, {precision}")


def check_target(path: Path) -> None:
    """Check the format of an output file and create its folder; LIIFError if that fails."""
    try:
        format_of(path)
    except LIIFError as error:
        raise LIIFError(f"{shown(path)}: {error}") from None
    make_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents; LIIFError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LIIFError(f"{shown(folder)}: cannot be created: {error.strerror}") from None


def shown(name: str | Path) -> str:
    """A name on one line, with unprintable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM end the process as Ctrl-C does, so that unfinished files are removed."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
