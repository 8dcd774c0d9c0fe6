"""Read, process and write one image file. Show the progress, and report an error as one line."""
from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import numpy as np
import torch
from tqdm import tqdm

from liif_basicsr.cli._arguments import show
from liif_basicsr.devices import bfloat16_is_fast
from liif_basicsr.errors import LIIFError, summarize
from liif_basicsr.files import atomic_write
from liif_basicsr.images.formats import collect_notes
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.reading import read
from liif_basicsr.images.size import LargerInput, show_size
from liif_basicsr.images.upscale import Resampler, Upscaler
from liif_basicsr.images.values import PixelError, select_bands
from liif_basicsr.images.writing import check_format, drop_opaque_alpha, write_in_thread
from liif_basicsr.rendering.memory import check_memory

if TYPE_CHECKING:
    from liif_basicsr.images.warp import Warper

# Outputs with more pixels need --yes.
MAX_PIXELS = 400_000_000
# `FileProcessor.process` returns this for an image that it skips on purpose.
SKIPPED = ""


class Output(NamedTuple):
    """The output planned for an image.

    size: (H, W).
    strips: function that yields the rendered strips of the output, from top to bottom. Its argument is a progress
        callback, which is called with the number of newly rendered pixels.
    note: line to print about the output, or "".
    """

    size: tuple[int, int]
    strips: Callable[[Callable[[int], object]], Iterator[np.ndarray]]
    note: str = ""


class FileProcessor(NamedTuple):
    """Processes image files.

    engine: renders the outputs.
    name: the model or the interpolation.
    overwrite: replace existing outputs.
    hint: text about other choices, added to the error about an existing output.
    allow_huge: write outputs of more than MAX_PIXELS.
    skip_larger: skip images that are already larger than requested, instead of failing.
    bands: indices from 0 of the bands to process; empty for all bands.
    setting: a setting of the model to print in the line about an output, or "".
    """

    engine: Upscaler | Resampler | Warper
    name: str
    overwrite: bool = False
    hint: str = ""
    allow_huge: bool = False
    skip_larger: bool = False
    bands: tuple[int, ...] = ()
    setting: str = ""

    def process(
        self, source: Path, target: Path, plan: Callable[[LoadedImage], Output], count: str | None = ""
    ) -> str | None:
        """Read an image, process it, write the output, and print a line about it. An error is printed on stderr.

        Args:
            plan: function that returns the planned output for the image that was read.
            count: text before the file name in the progress bar, such as `1/3`; None disables the bar.

        Returns:
            The error message if the image failed, SKIPPED if it was skipped on purpose, or None if it was written.
        """
        try:
            self._process(source, target, plan, count)
            return None
        except LIIFError as error:
            if self.skip_larger and isinstance(error, LargerInput):
                print_line(f"{show(source)}: skipped, {error}", file=sys.stderr)
                return SKIPPED
            failure = f"{show(source)}: {error}"
        except OSError as error:
            if error.filename is None:  # stdout or stderr, not an image
                raise
            failure = f"{show(source)}: {show(error.filename)}: {error.strerror}"
        except (MemoryError, torch.cuda.OutOfMemoryError):
            failure = f"{show(source)}: the output does not fit into memory; choose a smaller output size"
        except Exception as error:  # a fault here or in a library must not stop the other images
            print_line(traceback.format_exc().rstrip(), file=sys.stderr)
            failure = f"{show(source)}: unexpected error, please report it with the lines above ({summarize(error)})"
        print_line(failure, file=sys.stderr)
        return failure

    def _process(
        self, source: Path, target: Path, plan: Callable[[LoadedImage], Output], count: str | None
    ) -> None:
        start = time.perf_counter()
        if target.exists() and target.samefile(source):
            raise LIIFError("would be overwritten by its own output; choose another output")
        if target.exists() and not self.overwrite:
            raise LIIFError(f"{show(target)} already exists; choose another output, or pass --overwrite{self.hint}")
        image = read(source)
        image = drop_opaque_alpha(target, select_bands(image, self.bands) if self.bands else image)
        for note in image.notes:
            print_line(f"{show(source)}: {show(note)}", file=sys.stderr)
        size, strips, note = plan(image)
        like, shape = self.engine.output_like(image), (*size, self.engine.out_channels(image))
        kind = check_format(target, like, shape)
        pixels = size[0] * size[1]
        if pixels > MAX_PIXELS and not self.allow_huge:
            raise LIIFError(f"the output would have {show_size(size)} pixels, {pixels / 1e6:.0f} megapixels; pass "
                            "--yes to write it")  # fmt: skip
        if note:
            print_line(f"{show(target)}: {note}", file=sys.stderr)
        lost = kind.lost_metadata(like)
        if lost:
            print_line(f"{show(target)}: {kind.name} does not keep the input's {' and '.join(lost)}", file=sys.stderr)
        needed = self.engine.bytes_needed(image, size, whole=not kind.streamed)
        check_memory(show(target), needed, "write a .tif or .png, which are written strip by strip")
        title = f"{count} {show(source.name)}".strip()
        disable = True if count is None else None  # with None, tqdm shows the bar only on a terminal
        with tqdm(desc=title, total=pixels, unit="px", unit_scale=True, disable=disable, leave=False) as bar:
            try:
                with collect_notes() as notes, atomic_write(target, self.overwrite) as file:
                    write_in_thread(lambda made: kind.write(file, made, shape, like), strips(bar.update))
            except PixelError:  # concerns the input, not the output
                raise
            except LIIFError as error:
                raise LIIFError(f"{show(target)}: {error}") from None
        for note in notes:
            print_line(f"{show(target)}: {show(note)}", file=sys.stderr)
        settings = ", ".join(filter(None, (self.setting, self.engine.precision)))
        by = f"{show(self.name)} ({settings})" if settings else show(self.name)
        print_line(f"{show(target)}: {show_size(size)}, by {by} in {show_time(time.perf_counter() - start)}")


def show_time(seconds: float) -> str:
    """Format a duration in seconds, or in minutes from one minute on."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def print_line(line: str, file: TextIO | None = None) -> None:
    """Print a line above the progress bar, in a single write because processes of torchrun print at the same time."""
    tqdm.write(f"{line}\n", file=file, end="")


def warn_slow_precision(engine: Upscaler | Resampler | Warper) -> None:
    """Warn on stderr if the user chose a precision that is slow on this processor."""
    if engine.precision == "bfloat16" and not bfloat16_is_fast(engine.device):
        print("--precision bfloat16: is slower than float32 on this processor, which has no instructions for it; use "
              "float32", file=sys.stderr)  # fmt: skip


def make_folders(folders: Iterable[Path]) -> None:
    """Create folders and their parents.

    Raises:
        LIIFError: a folder cannot be created.
    """
    for folder in sorted({*folders}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LIIFError(f"{show(folder)}: cannot be created: {error.strerror}") from None


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the process like Ctrl-C in this context, so that unfinished files are removed.

    A closed terminal sends SIGHUP. Signals that are ignored, as SIGHUP is by nohup, stay ignored.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
