"""Read and write OpenEXR files: float images whose channels have names. This needs the package OpenEXR."""
from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from liif_basicsr.errors import LIIFError, summarize
from liif_basicsr.images.formats import check_pixel_count
from liif_basicsr.images.loaded import LoadedImage

MAGIC = b"\x76\x2f\x31\x01"
# Attributes that describe how the pixels are stored. They are not copied to an output.
STRUCTURE = (
    "channels", "compression", "dataWindow", "displayWindow", "lineOrder", "pixelAspectRatio", "screenWindowCenter",
    "screenWindowWidth", "tiles", "type", "name", "version", "chunkCount", "dwaCompressionLevel", "zipCompressionLevel",
)  # fmt: skip
UNSUPPORTED = "has deep, integer or subsampled channels, which are not supported; save it with ordinary float channels"


class ExrHeader(NamedTuple):
    """Header of an EXR file.

    size: (H, W).
    names: names of the channels. R, G and B are first and A is last; the others keep the file's alphabetical order.
    attributes: metadata, without the attributes that describe how the pixels are stored.
    notes: metadata that an output does not keep, one line each.
    """

    size: tuple[int, int]
    names: tuple[str, ...]
    attributes: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is opacity."""
        return len(self.names) > 1 and self.names[-1] == "A"


def read_exr(file: IO[bytes]) -> LoadedImage:
    """Read an EXR file as float16 if all channels are half floats, else as float32.

    `ExrHeader` describes the order of the bands.

    Raises:
        LIIFError: see `read_exr_header`, or the pixels are corrupt, deep data or integers.
    """
    with _on_disk(file) as path:
        header = _read_header(path)
        with _errors_in_one_line():
            channels = _library().File(str(path), separate_channels=True).channels()
            planes = [np.asarray(channels[name].pixels) for name in header.names]
    if any(plane.shape != header.size or plane.dtype.kind != "f" for plane in planes):
        raise LIIFError(UNSUPPORTED)
    return LoadedImage(
        np.stack(planes, axis=-1), rgb=header.names[:3] == ("R", "G", "B"), alpha=header.has_alpha,
        premultiplied=header.has_alpha, names=header.names, tags=header.attributes,
        notes=header.notes,
    )  # fmt: skip


def read_exr_header(file: IO[bytes]) -> ExrHeader:
    """Read the header of an EXR file.

    Raises:
        LIIFError: OpenEXR is not installed; the file is corrupt or too large, or has several parts or subsampled
            channels.
    """
    with _on_disk(file) as path:
        return _read_header(path)


def _read_header(path: Path) -> ExrHeader:
    with _errors_in_one_line():
        file = _library().File(str(path), header_only=True)
        parts, header = len(file.parts), file.header()
        (left, top), (right, bottom) = header["dataWindow"]
        is_part = np.not_equal(header["dataWindow"], header["displayWindow"]).any()
        aspect = header["pixelAspectRatio"]
        channels = {channel.name: (channel.xSampling, channel.ySampling) for channel in header["channels"]}
    if parts > 1:
        raise LIIFError(f"has {parts} parts; save each part as a separate file")
    if not channels or any(sampling != (1, 1) for sampling in channels.values()):
        raise LIIFError(UNSUPPORTED)
    size = int(bottom - top + 1), int(right - left + 1)
    check_pixel_count(size[0] * size[1])
    order = {"R": 0, "G": 1, "B": 2, "A": 4} if {"R", "G", "B"} <= channels.keys() else {"A": 4}
    names = tuple(sorted(channels, key=lambda name: order.get(name, 3)))
    attributes = {key: value for key, value in header.items() if key not in STRUCTURE}
    notes = [f"the pixel aspect ratio {aspect:g} is not kept"] if aspect != 1 else []
    notes += ["the position in the display window is not kept"] if is_part else []
    return ExrHeader(size, names, attributes, tuple(notes))


@contextmanager
def _on_disk(file: IO[bytes]) -> Iterator[Path]:
    """Yield the path of a temporary copy of the file, because OpenEXR cannot read streams before version 3.5."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.exr")
        with _errors_of_temporary_file(), path.open("wb") as copy:
            shutil.copyfileobj(file, copy)
        yield path


@contextmanager
def _errors_of_temporary_file() -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # OpenEXR reports a full disk as a RuntimeError
        where = f"needs a temporary file in {tempfile.gettempdir()}, which cannot be written"
        raise LIIFError(f"{where} ({summarize(error)}); set TMPDIR to another folder") from None


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except LIIFError:
        raise
    except Exception as error:  # the library raises several types
        raise LIIFError(f"is corrupt ({summarize(error)}); get another copy") from None


def write_exr(
    file: IO[bytes], strips: Iterator[np.ndarray], shape: tuple[int, int, int], source: LoadedImage
) -> None:
    """Write an image of `shape` (H, W, C) as an EXR file with one channel per band."""
    library = _library()
    pixels = np.concatenate(list(strips))
    names = source.names
    if len(names) != shape[2]:
        colors = ("R", "G", "B") if source.has_rgb else ("Y",) if shape[2] - source.has_alpha == 1 else ()
        rest = shape[2] - len(colors) - source.has_alpha
        names = (*colors, *(f"band{k + 1:03d}" for k in range(rest)), *["A"] * source.has_alpha)
    planes = {name: np.ascontiguousarray(pixels[..., k]) for k, name in enumerate(names)}
    attributes = {key: value for key, value in source.tags.items() if isinstance(key, str)}
    header: dict[str, Any] = {**attributes, "compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.exr")
        with _errors_of_temporary_file():
            library.File(header, planes).write(str(path))
        with path.open("rb") as written:
            shutil.copyfileobj(written, file)


def _library() -> Any:
    try:
        return import_module("OpenEXR")
    except ModuleNotFoundError:
        raise LIIFError("needs the package OpenEXR; run pip install 'liif_basicsr[exr]'") from None
