"""Decoding of image files: damaged metadata, depths, and numbers of channels."""
from __future__ import annotations

import io
import itertools
import struct
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from datafiles import noise_image, refused
from PIL import Image

from liif_basicsr.data.decode import decode, read_header
from liif_basicsr.images.reading import read


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def size_of(path: Path) -> tuple[int, int]:
    with path.open("rb") as file:
        return read_header(file, str(path)).size


def chunk(kind: bytes, content: bytes, crc_error: int = 0) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(kind)) ^ crc_error
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


# PNG ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"pHYs", b"gAMA", b"cHRM", b"iCCP", b"eXIf", b"tRNS"])
@pytest.mark.parametrize(
    ("content", "crc_error"), [(b"a\0b" * 5, 1), (b"", 0), (b"M", 0)], ids=["bad CRC", "empty", "short"]
)
def test_damaged_png_metadata_is_ignored(tmp_path: Path, kind: bytes, content: bytes, crc_error: int) -> None:
    image = noise_image(20, 24)
    whole, extra = png(image), chunk(kind, content, crc_error)
    for offset in (33, len(whole) - 12):  # after the header, and before the end
        damaged = whole[:offset] + extra + whole[offset:]
        assert np.array_equal(decode(damaged, "a.png"), image)
        (tmp_path / "a.png").write_bytes(damaged)
        assert size_of(tmp_path / "a.png") == (20, 24)


def test_a_palette_png_with_transparency_keeps_its_colors() -> None:
    file = io.BytesIO()
    palette = Image.fromarray(noise_image(20, 24)).quantize(16)
    palette.save(file, "PNG", transparency=bytes(range(16)))
    assert np.array_equal(decode(file.getvalue(), "a.png"), np.asarray(palette.convert("RGB")))


def test_a_damaged_png_header_or_pixel_chunk_is_refused(tmp_path: Path) -> None:
    whole = png(noise_image(20, 24))
    for position in (18, whole.index(b"IDAT") + 9):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        refused(lambda damaged=damaged: decode(bytes(damaged), "a.png"), "a.png", "corrupt")
    (tmp_path / "a.png").write_bytes(whole[:18] + b"\1" + whole[19:])
    refused(lambda: size_of(tmp_path / "a.png"), "a.png", "corrupt")


# Depth and channels -------------------------------------------------------------------------------------------


def encoded(write: Callable[..., object], *args: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    write(file, *args, **options)
    return file.getvalue()


def numbers(dtype: str, channels: int) -> np.ndarray:
    """Return random values (20, 24, channels). Signed types have negative and positive values."""
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 100, (20, 24, channels)).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (20, 24, channels), dtype, endpoint=True)


def header(content: bytes, channels: int) -> tuple[tuple[int, int], np.dtype]:
    return tuple(read_header(io.BytesIO(content), "a", channels))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8])
def test_tiff_and_npy_keep_depth_and_bands(dtype: str, channels: int) -> None:
    values = numbers(dtype, channels)
    swapped = values.astype(values.dtype.newbyteorder(">"))
    files = [encoded(np.save, array) for array in (values, np.asfortranarray(values), swapped)]
    for planar, byteorder, compression in itertools.product((True, False), "<>", (None, "zlib")):
        samples = values if channels > 1 else values[..., 0]
        config = ("separate" if planar else "contig") if channels > 1 else None
        files.append(encoded(
            tifffile.imwrite, samples.transpose(2, 0, 1) if planar and config else samples, photometric="minisblack",
            planarconfig=config, byteorder=byteorder, compression=compression,
        ))  # fmt: skip
    for content in files:
        pixels = decode(content, "a", channels)
        assert pixels.dtype == dtype and np.array_equal(pixels, values)
        assert header(content, channels) == ((20, 24), np.dtype(dtype))


@pytest.mark.parametrize(("suffix", "channels"), [(".png", 1), (".png", 3), (".png", 4), (".tif", 1), (".tif", 3)])
def test_pictures_of_16_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    values = numbers("uint16", channels)
    order = [2, 1, 0, 3][:channels] if channels > 1 else [0]
    assert cv2.imwrite(str(tmp_path / f"a{suffix}"), values[..., order])
    content = (tmp_path / f"a{suffix}").read_bytes()
    expected = {channels: values, 3: values[..., :3] if channels > 1 else values.repeat(3, axis=2)}
    for count, pixels in expected.items():
        assert np.array_equal(decode(content, "a", count), pixels)
        assert header(content, count) == ((20, 24), np.dtype(np.uint16))


def test_gray_with_alpha() -> None:
    values = numbers("uint8", 2)
    content = encoded(Image.fromarray(values).save, "PNG")
    assert np.array_equal(decode(content, "a", 2), values)
    assert np.array_equal(decode(content, "a", 1), values[..., :1])
    assert np.array_equal(decode(content, "a"), values[..., :1].repeat(3, axis=2))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("planar", [True, False], ids=["planar", "interleaved"])
def test_colors_are_divided_by_associated_alpha(dtype: str, planar: bool) -> None:
    most = np.iinfo(dtype).max
    colors = np.random.default_rng(0).integers(0, most, (20, 24, 3), endpoint=True)
    alpha = np.random.default_rng(1).integers(most // 2, most, (20, 24, 1), endpoint=True)
    samples = np.concatenate([np.rint(colors * (alpha / most)), alpha], axis=-1).astype(dtype)
    content = encoded(
        tifffile.imwrite, samples.transpose(2, 0, 1) if planar else samples, photometric="rgb",
        extrasamples=["assocalpha"], planarconfig="separate" if planar else "contig",
    )  # fmt: skip
    assert np.abs(decode(content, "a.tif").astype(int) - colors).max() <= 3


def test_white_is_zero() -> None:
    values = numbers("uint16", 1)
    content = encoded(tifffile.imwrite, values[..., 0], photometric="miniswhite")
    assert np.array_equal(decode(content, "a", 1), 65535 - values)


def test_exr(tmp_path: Path) -> None:
    library = pytest.importorskip("OpenEXR")
    values = numbers("float32", 4)
    for names, stored in (("RGBA", values), ("RGB", values[..., :3]), ("Z", values[..., :1].astype(np.float16))):
        planes = {name: stored[..., k].copy() for k, name in enumerate(names)}
        library.File({}, planes).write(str(tmp_path / "a.exr"))
        content = (tmp_path / "a.exr").read_bytes()
        assert np.array_equal(decode(content, "a", len(names)), stored)
        assert header(content, len(names))[0] == (20, 24)
    assert np.array_equal(decode(content, "a", 1), stored)
    refused(lambda: decode(content[:50], "a.exr", 1), "a.exr", "corrupt")


@pytest.mark.parametrize("names", ["ABGRZ", "AY", "BG", "A"])
def test_training_and_upscaling_read_the_same_exr_bands(tmp_path: Path, names: str) -> None:
    library = pytest.importorskip("OpenEXR")
    values = numbers("float32", len(names))
    library.File({}, {name: values[..., k].copy() for k, name in enumerate(names)}).write(str(tmp_path / "a.exr"))
    image, content = read(tmp_path / "a.exr"), (tmp_path / "a.exr").read_bytes()
    assert np.array_equal(decode(content, "a.exr", len(names)), image.pixels)
    if image.has_alpha:
        assert np.array_equal(decode(content, "a.exr", len(names) - 1), image.pixels[..., :-1])


@pytest.mark.parametrize(("count", "dtype", "message"), [
    (2, np.float32, "has 2 parts; save each part as a separate file"),
    (1, np.uint32, "has deep, integer or subsampled channels, which are not supported"),
])  # fmt: skip
def test_unsupported_exr(tmp_path: Path, count: int, dtype: type, message: str) -> None:
    library = pytest.importorskip("OpenEXR")
    parts = [library.Part({}, {"Z": np.zeros((4, 6), dtype)}, f"part{k}") for k in range(count)]
    library.File(parts).write(str(tmp_path / "a.exr"))
    refused(lambda: decode((tmp_path / "a.exr").read_bytes(), "a.exr", 1), f"a.exr {message}")
    refused(lambda: read(tmp_path / "a.exr"), message)


def test_subsampled_exr(tmp_path: Path) -> None:
    library = pytest.importorskip("OpenEXR")
    library.File({}, {"Z": np.zeros((4, 6), np.float32)}).write(str(tmp_path / "a.exr"))
    # Some versions of OpenEXR cannot write subsampled channels: patch the header's xSampling and ySampling, which
    # follow the name, the pixel type and four more bytes.
    before, after = (tmp_path / "a.exr").read_bytes().split(b"Z\0", 1)
    assert after[8:16] == struct.pack("<ii", 1, 1)
    content = before + b"Z\0" + after[:8] + struct.pack("<ii", 2, 2) + after[16:]
    message = "has deep, integer or subsampled channels, which are not supported"
    refused(lambda: header(content, 1), message)
    refused(lambda: decode(content, "a.exr", 1), f"a.exr {message}")


def test_different_numbers_of_channels_are_refused() -> None:
    bands = numbers("uint16", 4)
    for array, channels, part in (
        (bands, 3, "a has 4 channels, but channels is 3; set channels: 4, or convert the file"),
        (bands[..., :1].astype(np.float32), 3, "a has 1 channel, but channels is 3; set channels: 1"),
        (bands.transpose(2, 0, 1), 4, "a has 24 channels, but channels is 4; save arrays as (H, W, C)"),
    ):
        content = encoded(np.save, array)
        refused(partial(decode, content, "a", channels), part)
        refused(partial(header, content, channels), part)
    rgbx = encoded(tifffile.imwrite, bands, photometric="rgb", extrasamples=["unspecified"])
    refused(lambda: decode(rgbx, "a", 3), "a has 4 channels, but channels is 3")
    assert np.array_equal(decode(rgbx, "a", 4), bands)


@pytest.mark.parametrize(("array", "part"), [
    (np.zeros(5), "a has shape (5,); expected (height, width) or (height, width, bands)"),
    (np.zeros((4, 5), bool), "a has bool values"),
    (np.array([["a"]]), "a has <U1 values"),
    (np.array([[{}]]), "a has object values"),
])  # fmt: skip
def test_unusable_arrays(array: np.ndarray, part: str) -> None:
    refused(lambda: decode(encoded(np.save, array), "a"), part)


@pytest.mark.parametrize("length", [9, 100, 1000])
def test_truncated_values_are_refused(length: int) -> None:
    values = numbers("float32", 4)
    for write in (np.save, partial(tifffile.imwrite, photometric="minisblack", planarconfig="contig")):
        content = encoded(write, values)[:length]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings about the directory
            refused(partial(decode, content, "a", 4), "a ")


def test_several_pages_are_refused() -> None:
    content = encoded(tifffile.imwrite, numbers("float32", 4).transpose(2, 0, 1), photometric="minisblack")
    refused(lambda: decode(content, "a", 4), "a has 4 pages", "or all of them as bands of one page")


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_orientation_of_a_tiff_is_ignored(orientation: int, dtype: str, byteorder: str) -> None:
    """TIFF is the only format whose orientation Pillow applies when it decodes an image."""
    samples = noise_image(20, 24).astype(dtype)
    tag = [(274, 3, 1, orientation, True)]
    content = encoded(tifffile.imwrite, samples, photometric="rgb", byteorder=byteorder, extratags=tag)
    assert np.array_equal(decode(content, "a.tif"), samples)
    assert read_header(io.BytesIO(content), "a.tif").size == (20, 24)


def test_tiffs_that_are_not_one_rgb_page_are_refused() -> None:
    pages = np.stack([noise_image(20, 24), noise_image(20, 24, seed=1)])
    several = encoded(tifffile.imwrite, pages, photometric="rgb")
    lab = encoded(tifffile.imwrite, noise_image(20, 24), photometric="cielab")
    for content, message in ((several, "has 2 pages"), (lab, "LAB pixels")):
        refused(lambda content=content: decode(content, "a.tif"), "a.tif has", message)
        refused(lambda content=content: read_header(io.BytesIO(content), "a.tif"), "a.tif has", message)


def test_giant_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for write in (np.save, partial(tifffile.imwrite, photometric="minisblack", planarconfig="contig")):
        content = encoded(write, numbers("float32", 4))
        refused(partial(decode, content, "a", 4), "a is too large")
        refused(partial(header, content, 4), "a is too large")
