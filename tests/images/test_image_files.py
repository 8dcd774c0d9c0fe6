"""Limits and metadata of every output format."""
from __future__ import annotations

import numpy as np
import pytest
import tifffile
from image_files import SRGB, exif_of, image, model, ramp
from PIL import Image

from liif_basicsr.errors import LIIFError
from liif_basicsr.files import atomic_write
from liif_basicsr.images import tiff
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.reading import from_image, read
from liif_basicsr.images.size import OutputSize
from liif_basicsr.images.upscale import STRIP_ROWS, Upscaler
from liif_basicsr.images.writing import BY_SUFFIX, check_format

__all__ = ["model"]


@pytest.fixture(scope="module")
def enlarger(model):
    return Upscaler(model, "cpu", "float32")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_profile_and_exif_are_kept_and_the_size_in_exif_is_updated(enlarger, tmp_path, suffix):
    path, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    image("RGB").save(path, exif=exif_of("hello", 6).tobytes(), icc_profile=SRGB)
    write(enlarger, path, out, OutputSize(scale=(2, 3)))
    with Image.open(out) as made:
        assert made.size == (36, 34)
        assert made.info["icc_profile"] == SRGB
        exif = made.getexif()
        inner, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    assert exif[0x010E] == "hello" and exif.get(0x0112, 1) == 1
    assert float(inner[0x829A]) == pytest.approx(0.008) and (inner[0xA002], inner[0xA003]) == (36, 34)
    assert [float(v) for v in place[2]] == [48, 8, 14]


def write(enlarger, path, out, wanted):
    loaded = read(path)
    size = wanted.size_of(loaded.pixels.shape[:2])
    shape = (*size, loaded.shape[2])
    kind = check_format(out, loaded, shape)
    with atomic_write(out) as file:
        kind.write(file, enlarger.strips(loaded, size), shape, loaded)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("size", [(1, 1), (12, 17), (300, 513)])
def test_png_and_tiff_are_lossless_for_all_kinds(tmp_path, suffix, channels, dtype, size):
    pixels = ramp(*size, channels, dtype)
    out = tmp_path / f"out{suffix}"
    strips = (pixels[top : top + STRIP_ROWS] for top in range(0, size[0], STRIP_ROWS))
    with atomic_write(out) as file:
        BY_SUFFIX[suffix].write(file, strips, pixels.shape, LoadedImage(pixels))
    again = tifffile.imread(out).reshape(pixels.shape) if suffix == ".tif" else read(out).pixels
    assert again.dtype == dtype and np.array_equal(again, pixels)
    if (suffix, channels, dtype) != (".tif", 2, np.uint16):  # Pillow has no mode for these pixels
        with Image.open(out) as image:
            image.load()


@pytest.mark.parametrize("suffix, channels", [(s, c) for s in (".jpg", ".webp", ".bmp", ".ppm") for c in (1, 2, 3, 4)])
def test_formats_written_by_pillow_hold_the_pixels_or_refuse_transparency(tmp_path, suffix, channels):
    pixels, out = ramp(300, 20, channels), tmp_path / f"out{suffix}"
    loaded = LoadedImage(pixels)
    if suffix != ".webp" and channels in (2, 4):
        with pytest.raises(LIIFError, match="transparent"):
            check_format(out, loaded, pixels.shape)
        return
    with atomic_write(out) as file:
        check_format(out, loaded, pixels.shape).write(file, iter([pixels[:256], pixels[256:]]), pixels.shape, loaded)
    again = read(out).pixels.astype(int)
    if again.shape[2] >= 3 and channels <= 2:
        again = again[..., [0, 3][:channels]]
    assert np.abs(again - pixels).max() < 12


def test_large_tiff_is_a_tiled_bigtiff_with_its_metadata(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "BIG", 1000)
    loaded, pixels = image("RGB"), ramp(40, 50, 3, np.uint16)
    loaded.info.update(exif=exif_of("a text that is long enough").tobytes(), icc_profile=SRGB)
    with atomic_write(tmp_path / "big.tif") as file:
        BY_SUFFIX[".tif"].write(file, iter([pixels]), pixels.shape, from_image(loaded)._replace(pixels=pixels))
    with tifffile.TiffFile(tmp_path / "big.tif") as made:
        assert made.is_bigtiff and made.pages.first.is_tiled
        assert made.pages.first.tags["ExifTag"].value["DateTimeOriginal"] == "2024:05:06 07:08:09"
        assert made.pages.first.iccprofile == SRGB
        assert np.array_equal(made.asarray(), pixels)


@pytest.mark.parametrize("suffix, size, dtype, says", [
    (".jpg", (2, 65536), np.uint8, "65535"), (".webp", (16384, 2), np.uint8, "16383"),
    (".bmp", (40000, 30000), np.uint8, "2 GiB"), (".jpg", (9, 9), np.uint16, "uint16 pixels"),
    (".webp", (9, 9), np.uint16, "uint16 pixels"), (".gif", (9, 9), np.uint8, "suffix"),
    ("", (9, 9), np.uint8, "suffix"),
])  # fmt: skip
def test_limits_of_formats(tmp_path, suffix, size, dtype, says):
    with pytest.raises(LIIFError, match=says):
        check_format(tmp_path / f"out{suffix}", LoadedImage(ramp(2, 2, 3, dtype)), (*size, 3))
