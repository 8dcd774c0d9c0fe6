"""Decoding of image files: damaged metadata, and TIFFs by their tags."""
from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from datafiles import build, noise_image, refused, train_block
from PIL import Image

from liif_basicsr.data.decode import decode, size_of


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


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
    for place in (33, len(whole) - 12):  # after the header, and before the end
        damaged = whole[:place] + extra + whole[place:]
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


# TIFF ---------------------------------------------------------------------------------------------------------


def tiff(samples: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **options)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", [True, False], ids=["planar", "interleaved"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("alpha", [None, "unassalpha", "unspecified"])
def test_tiff_layouts(dtype: str, byteorder: str, planar: bool, compression: str | None, alpha: str | None) -> None:
    rng = np.random.default_rng(0)
    samples = rng.integers(0, np.iinfo(dtype).max + 1, (20, 24, 4 if alpha else 3)).astype(dtype)
    content = tiff(
        samples.transpose(2, 0, 1) if planar else samples, photometric="rgb", byteorder=byteorder,
        planarconfig="separate" if planar else "contig", compression=compression, predictor=bool(compression),
        extrasamples=[alpha] if alpha else None,
    )  # fmt: skip
    expected = samples >> 8 if dtype == "uint16" else samples
    assert np.array_equal(decode(content, "a.tif"), expected[..., :3])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("planar", [True, False], ids=["planar", "interleaved"])
def test_colors_are_divided_by_associated_alpha(dtype: str, planar: bool) -> None:
    most = np.iinfo(dtype).max
    colors = np.random.default_rng(0).integers(0, most, (20, 24, 3), endpoint=True)
    alpha = np.random.default_rng(1).integers(most // 2, most, (20, 24, 1), endpoint=True)
    samples = np.concatenate([np.rint(colors * (alpha / most)), alpha], axis=-1).astype(dtype)
    content = tiff(
        samples.transpose(2, 0, 1) if planar else samples, photometric="rgb", extrasamples=["assocalpha"],
        planarconfig="separate" if planar else "contig",
    )  # fmt: skip
    expected = colors >> 8 if dtype == "uint16" else colors
    assert np.abs(decode(content, "a.tif") - expected).max() <= 3


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "int16", "uint32", "int32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiffs_of_unknown_range_are_refused(tmp_path: Path, dtype: str, channels: int) -> None:
    values = np.random.default_rng(0).random((60, 60, channels)[: 2 + (channels > 1)]) * 100
    content = tiff(values.astype(dtype), photometric="rgb" if channels > 1 else "minisblack")
    refused(lambda: decode(content, "a.tif"), f"a.tif has {dtype} values", "8 or 16 bits")
    (tmp_path / "a.tif").write_bytes(content)
    refused(lambda: build(train_block(tmp_path)), str(tmp_path / "a.tif"), f"{dtype} values")
