"""Image files are read as pixels with their full depth, and for display as 8-bit sRGB."""
import io

import numpy as np
import pytest
from image_files import ramp
from PIL import Image, ImageCms

from liif_basicsr.data.decode import decode
from liif_basicsr.errors import LIIFError
from liif_basicsr.images.formats import FORMATS
from liif_basicsr.images.reading import read, read_srgb
from liif_basicsr.images.suffixes import SUFFIXES, WRITABLE
from liif_basicsr.images.writing import BY_SUFFIX


def test_all_formats_are_read_for_upscaling_and_training_and_written(tmp_path):
    assert tuple(BY_SUFFIX) == WRITABLE
    assert {BY_SUFFIX[suffix].name.upper() for suffix in SUFFIXES} == set(FORMATS)
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix}"
        Image.fromarray(ramp(6, 7)).save(path, lossless=True, quality=100, subsampling=0)
        pixels = read(path).pixels.astype(int)
        assert np.abs(pixels - ramp(6, 7)).max() <= 4
        assert np.array_equal(pixels, decode(path.read_bytes(), str(path)))


def test_deep_ppm_keeps_its_16_bits_or_is_refused(tmp_path):
    gray = ramp(5, 8, 1, np.uint16)
    (tmp_path / "a.pgm").write_bytes(b"P5 8 5 65535\n" + gray.astype(">u2").tobytes())
    assert np.array_equal(read(tmp_path / "a.pgm").pixels, gray)
    (tmp_path / "a.ppm").write_bytes(b"P6 8 5 65535\n" + ramp(5, 8, 3, np.uint16).astype(">u2").tobytes())
    with pytest.raises(LIIFError, match="16-bit pixels"):
        read(tmp_path / "a.ppm")


def test_read_srgb(tmp_path):
    ramp = np.arange(6, dtype=np.uint16).reshape(2, 3) * 10000
    Image.fromarray(ramp).save(tmp_path / "gray16.png")
    assert np.array_equal(np.array(read_srgb(tmp_path / "gray16.png"))[..., 1], np.round(ramp / 257))

    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_srgb(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Red and blue of the profile are exchanged.
    swapped = profile.replace(b"rXYZ", b"tmp.").replace(b"bXYZ", b"rXYZ").replace(b"tmp.", b"bXYZ")
    Image.new("RGB", (2, 2), (255, 0, 0)).save(tmp_path / "profile.png", icc_profile=swapped)
    assert read_srgb(tmp_path / "profile.png").getpixel((0, 0)) == (0, 0, 255)
    Image.new("RGB", (2, 2), (255, 0, 0)).save(tmp_path / "damaged.png", icc_profile=profile[:200])
    with pytest.warns(UserWarning, match="the color profile is damaged"):
        assert read_srgb(tmp_path / "damaged.png").getpixel((0, 0)) == (255, 0, 0)

    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (5, 3)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_srgb(tmp_path / "turned.jpg").size == (3, 5)


def test_file_that_is_not_an_image_is_refused_in_one_line(tmp_path, monkeypatch):
    good = io.BytesIO()
    Image.new("RGB", (40, 40)).save(good, "PNG")
    files = {"empty.png": b"", "text.png": b"hello", "cut.png": good.getvalue()[:60]}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name in [*files, "missing.png", "."]:
        with pytest.raises(LIIFError, match=str(tmp_path / name)) as error:
            read_srgb(tmp_path / name)
        assert "\n" not in str(error.value)
    (tmp_path / "bomb.png").write_bytes(good.getvalue())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(LIIFError, match="bomb.png: is too large"):
        read_srgb(tmp_path / "bomb.png")
