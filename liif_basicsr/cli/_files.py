"""Read, process and write one image file, with progress and one line per error."""
from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import torch
from tqdm import tqdm

from liif_basicsr.cli._arguments import show
from liif_basicsr.devices import bfloat16_is_fast
from liif_basicsr.errors import LIIFError
from liif_basicsr.files import atomic_write
from liif_basicsr.images.engine import Engine
from liif_basicsr.images.formats import collect_notes
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.reading import read
from liif_basicsr.images.size import LargerInput, show_size
from liif_basicsr.images.upscale import Resampler
from liif_basicsr.images.values import PixelError, select_bands
from liif_basicsr.images.writer_thread import write_in_thread
from liif_basicsr.images.writing import check_format, drop_opaque_alpha
from liif_basicsr.rendering.memory import check_memory

# Pixels of the largest output without --yes.
MAX_PIXELS = 400_000_000
# Result of `make_file` for an image that is left out on purpose.
SKIPPED = ""


class Output(NamedTuple):
    """The output planned for an image.

    image: the input with the metadata of the output.
    shape: (H, W, C).
    bytes_needed: estimates the memory; its argument says whether the whole output is kept in memory.
    strips: renders it from top to bottom; its argument is called with the number of newly rendered pixels.
    note: something that the user should know, or "".
    """

    image: LoadedImage
    shape: tuple[int, int, int]
    bytes_needed: Callable[[bool], int]
    strips: Callable[[Callable[[int], object]], Iterator[np.ndarray]]
    note: str = ""


class Policy(NamedTuple):
    """Which files are written: whether to overwrite, to allow huge outputs, and to skip inputs larger than requested.

    bands: the bands to process, by number from 0; all if empty.
    """

    overwrite: bool = False
    allow_huge: bool = False
    skip_larger: bool = False
    bands: tuple[int, ...] = ()


def make_file(
    source: Path,
    target: Path,
    policy: Policy,
    count: str | None,
    engine: Engine | Resampler,
    plan: Callable[[LoadedImage], Output],
) -> str | None:
    """Read an image, process it and write the output; report an error on stderr.

    Args:
        count: prefix of the name in the progress bar, such as `1/3`; None for no bar.
        plan: returns what to make of the image.

    Returns:
        The error in one line; SKIPPED if the image is left out on purpose; None if it was made.
    """
    try:
        _make_file(source, target, policy, count, engine, plan)
        return None
    except LargerInput as error:
        if policy.skip_larger:
            print_line(f"{show(source)}: skipped, {error}", file=sys.stderr)
            return SKIPPED
        failure = f"{show(source)}: {error}"
    except LIIFError as error:
        failure = f"{show(source)}: {error}"
    except OSError as error:
        failure = f"{show(source)}: {show(error.filename)}: {error.strerror}"
    except (MemoryError, torch.cuda.OutOfMemoryError):
        failure = f"{show(source)}: does not fit in memory; ask for a smaller output"
    print_line(failure, file=sys.stderr)
    return failure


def _make_file(
    source: Path, target: Path, policy: Policy, count: str | None, engine: Engine | Resampler,
    plan: Callable[[LoadedImage], Output],
) -> None:  # fmt: skip
    if target.exists() and target.samefile(source):
        raise LIIFError("would be overwritten by its own output; use another output")
    if target.exists() and not policy.overwrite:
        raise LIIFError(f"{show(target)} already exists; use another output (-o), or --overwrite")
    image = read(source)
    image = drop_opaque_alpha(target, select_bands(image, policy.bands) if policy.bands else image)
    for note in image.notes:
        print_line(f"{show(source)}: {show(note)}", file=sys.stderr)
    output = plan(image)
    size = output.shape[:2]
    kind = check_format(target, output.image, output.shape)
    if size[0] * size[1] > MAX_PIXELS and not policy.allow_huge:
        raise LIIFError(f"the output has {show_size(size)} pixels, {size[0] * size[1] / 1e6:.0f} megapixels; "
                        "pass --yes if you want that")  # fmt: skip
    lost = kind.lost_metadata(output.image)
    for note in (output.note, f"{kind.name} does not keep {' and '.join(lost)}" if lost else ""):
        if note:
            print_line(f"{show(target)}: {note}", file=sys.stderr)
    needed = output.bytes_needed(not kind.streamed)
    check_memory(show(target), needed, "write a .tif or .png, which are written strip by strip")
    name = f"{count} {show(source.name)}".strip()
    disable = True if count is None else None  # None: shown on a terminal only
    with tqdm(desc=name, total=size[0] * size[1], unit="px", unit_scale=True, disable=disable, leave=False) as bar:
        try:
            with collect_notes() as notes, atomic_write(target) as file:
                write_in_thread(
                    lambda strips: kind.write(file, strips, output.shape, output.image), output.strips(bar.update)
                )
        except PixelError:  # the input's fault
            raise
        except LIIFError as error:
            raise LIIFError(f"{show(target)}: {error}") from None
    for note in notes:
        print_line(f"{show(target)}: {show(note)}", file=sys.stderr)
    precision = engine.precision_for(image.pixels)
    print_line(f"{show(target)}: {show_size(image.size)} to {show_size(size)}, {engine.device}, {precision}")


def print_line(line: str, file: TextIO | None = None) -> None:
    """Print a line above the progress bar, in one write, because processes of torchrun print at the same time."""
    tqdm.write(f"{line}\n", file=file, end="")


def warn_slow_precision(engine: Engine | Resampler) -> None:
    """Print a warning about a precision that is slow on this machine."""
    if engine.precision == "bfloat16" and not bfloat16_is_fast(engine.device):
        print("--precision bfloat16: slower than float32 on this processor, which has no instructions for it",
              file=sys.stderr)  # fmt: skip


def make_folders(folders: Iterable[Path]) -> None:
    """Create folders and their parents; LIIFError if that fails."""
    for folder in sorted({*folders}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LIIFError(f"{show(folder)}: cannot be created: {error.strerror}") from None


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process like Ctrl-C, so that unfinished files are removed."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
