"""OpenEXR: float images with any named channels. Needs the package OpenEXR."""
from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.formats import check_pixel_count
from liif_basicsr.images.loaded import LoadedImage

MAGIC = b"\x76\x2f\x31\x01"
# Attributes that describe how the pixels are stored.
STRUCTURE = (
    "channels", "compression", "dataWindow", "displayWindow", "lineOrder", "pixelAspectRatio", "screenWindowCenter",
    "screenWindowWidth", "tiles", "type", "name", "version", "chunkCount", "dwaCompressionLevel", "zipCompressionLevel",
)  # fmt: skip


def read_exr(file: IO[bytes]) -> LoadedImage:
    """Read an EXR file: float16 if all channels are half floats, else float32.

    Red, green and blue come first and alpha last; other channels keep the file's order, which is alphabetical.

    Raises:
        LIIFError: OpenEXR is not installed; the file is corrupt, or has several parts, deep pixels or integers.
    """
    library = _library()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.exr")
        with path.open("wb") as copy:
            shutil.copyfileobj(file, copy)
        try:
            header = library.File(str(path), header_only=True)
            if len(header.parts) > 1:
                raise LIIFError(f"has {len(header.parts)} parts; save each one as a file of its own")
            low, high = header.header()["dataWindow"]
            check_pixel_count(int(high[0] - low[0] + 1) * int(high[1] - low[1] + 1))
            opened = library.File(str(path), separate_channels=True)
            planes = {name: np.array(channel.pixels) for name, channel in opened.channels().items()}
            attributes = {key: value for key, value in opened.header().items() if key not in STRUCTURE}
        except LIIFError:
            raise
        except Exception as error:  # the library raises several types
            raise LIIFError(f"is corrupt ({str(error).splitlines()[0][:120]}); get another copy") from None
    first = next(iter(planes.values()))
    if any(plane.ndim != 2 or plane.dtype.kind != "f" or plane.shape != first.shape for plane in planes.values()):
        raise LIIFError("has deep, integer or subsampled channels, which are not supported; save it with floats only")
    rgb, alpha = {"R", "G", "B"} <= planes.keys(), "A" in planes and len(planes) > 1
    order = {"R": 0, "G": 1, "B": 2, "A": 4} if rgb else {"A": 4}
    names = sorted(planes, key=lambda name: order.get(name, 3))
    pixels = np.stack([planes[name] for name in names], axis=-1)
    return LoadedImage(
        pixels, rgb=rgb, alpha=alpha, premultiplied=alpha, names=tuple(names), tags=attributes
    )


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
        library.File(header, planes).write(str(path))
        with path.open("rb") as written:
            shutil.copyfileobj(written, file)


def _library() -> Any:
    try:
        return import_module("OpenEXR")
    except ModuleNotFoundError:
        raise LIIFError("EXR files need OpenEXR; pip install 'liif_basicsr[exr]'") from None
