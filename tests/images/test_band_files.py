"""Files with any number of bands of integers or floats, written by this package and by other programs."""
from __future__ import annotations

import io
import tempfile
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from liif_basicsr.data.decode import decode
from liif_basicsr.errors import LIIFError
from liif_basicsr.images.loaded import DTYPES, LoadedImage
from liif_basicsr.images.reading import read, read_file
from liif_basicsr.images.values import select_bands
from liif_basicsr.images.writing import BY_SUFFIX, check_format

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, KEYS, DOUBLE_KEYS, TEXT_KEYS = 33550, 33922, 34264, 34735, 34736, 34737
NODATA = 42113


def values(height: int, width: int, bands: int, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 100, (height, width, bands)).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (height, width, bands), dtype, endpoint=True)


def written(image: LoadedImage, suffix: str) -> io.BytesIO:
    """Write an image, and return the file, rewound to its start."""
    check_format(Path(f"out{suffix}"), image, image.shape)
    file = io.BytesIO()
    BY_SUFFIX[suffix].write(file, iter([image.pixels]), image.shape, image)
    file.seek(0)
    return file


@st.composite
def images(draw):
    """Images of any pixel type and number of bands. Some are RGB or have alpha; floats may be infinite or NaN."""
    suffix = draw(st.sampled_from([".tif", ".npy", ".exr", ".png"]))
    dtype = draw(st.sampled_from(BY_SUFFIX[suffix].dtypes))
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4 if suffix == ".png" else 9)))
    pixels = draw(arrays.arrays(np.dtype(dtype), shape))
    if suffix == ".png":
        return suffix, LoadedImage(pixels)
    rgb = draw(st.booleans()) and shape[2] >= 3
    alpha = draw(st.booleans()) and shape[2] > (3 if rgb else 1) and suffix != ".npy"
    return suffix, LoadedImage(pixels, rgb=rgb, alpha=alpha, premultiplied=alpha and dtype.startswith("f"))


@given(images())
def test_pixels_survive_writing_and_reading(drawn):
    suffix, image = drawn
    if suffix == ".exr":
        pytest.importorskip("OpenEXR")
    again = read_file(written(image, suffix))
    assert again.dtype == image.dtype and again.shape == image.shape
    assert np.array_equal(again.pixels, image.pixels, equal_nan=image.dtype.kind == "f")
    if suffix != ".npy":
        assert (again.has_rgb, again.has_alpha) == (image.has_rgb, image.has_alpha)


@pytest.mark.parametrize("storage", [
    {}, {"byteorder": ">"}, {"bigtiff": True}, {"tile": (16, 16)}, {"rowsperstrip": 2}, {"compression": "zlib"},
    {"bigtiff": True, "byteorder": ">", "tile": (16, 16), "compression": "zlib"},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tiff_of_other_programs(tmp_path, dtype, planar, storage):
    pixels = values(9, 20, 5, dtype)
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    about = {"description": "five bands", "resolution": (300, 200), "resolutionunit": "inch"}
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar, metadata=None, **storage, **about
    )
    image = read(tmp_path / "a.tif")
    assert image.dtype == dtype and np.array_equal(image.pixels, pixels)
    assert not image.has_rgb and not image.has_alpha and image.dpi == (300, 200)
    assert image.exif[0x010E] == "five bands"
    again = read_file(written(image, ".tif"))
    assert np.array_equal(again.pixels, pixels) and again.dpi == (300, 200) and again.exif[0x010E] == "five bands"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("extra, alpha", [("unassalpha", True), ("unspecified", False)])
def test_fourth_band_is_alpha_only_if_the_file_says_so(tmp_path, dtype, extra, alpha):
    pixels = values(5, 6, 4, dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[extra])
    image = read(tmp_path / "a.tif")
    assert image.has_rgb and image.has_alpha == alpha and np.array_equal(image.pixels, pixels)


def test_exr_without_room_for_temporary_files(tmp_path, monkeypatch):
    pytest.importorskip("OpenEXR")
    image = LoadedImage(values(5, 4, 3, "float32"))
    file = written(image, ".exr")
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda: nullcontext(tmp_path / "none"))
    for work in (lambda: read_file(file), lambda: written(image, ".exr")):
        with pytest.raises(LIIFError, match="needs a temporary file in .* set TMPDIR to another folder"):
            work()


def test_palette_is_rgb(tmp_path):
    Image.fromarray(values(5, 6, 3, "uint8")).convert("P").save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif").shape == (5, 6, 3)


@pytest.mark.parametrize("bands", [1, 3])
def test_lzw_float_tiff(tmp_path, bands):
    pixels = values(9, 7, bands, "float32")
    lzw = [cv2.IMWRITE_TIFF_COMPRESSION, 5]
    cv2.imwrite(str(tmp_path / "a.tif"), pixels[..., ::-1] if bands == 3 else pixels, lzw)
    assert np.array_equal(read(tmp_path / "a.tif").pixels, pixels)


@pytest.mark.parametrize("compression", [1, 5], ids=["uncompressed", "LZW"])
def test_fourth_band_without_a_meaning(tmp_path, compression):
    """OpenCV does not write the tag ExtraSamples."""
    pixels = values(9, 7, 4, "uint16")
    cv2.imwrite(str(tmp_path / "a.tif"), pixels[..., [2, 1, 0, 3]], [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    image = read(tmp_path / "a.tif")
    assert np.array_equal(image.pixels, pixels) and not image.has_alpha


def test_overviews_are_not_pages(tmp_path):
    pixels = values(16, 16, 5, "uint16")
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for step, kind in ((1, 0), (2, 1), (4, 1)):
            tiff.write(pixels[::step, ::step], photometric="minisblack", planarconfig="contig", subfiletype=kind)
    assert np.array_equal(read(tmp_path / "a.tif").pixels, pixels)


@pytest.mark.parametrize("mode, compression", [
    ("P", None), ("1", "group4"), ("YCbCr", "jpeg"), ("RGB", "jpeg"), ("RGB", "tiff_lzw"), ("RGB", None),
])  # fmt: skip
def test_overviews_that_pillow_reads_are_not_pages(tmp_path, mode, compression):
    pages = [Image.new("RGB", (size, size)).convert(mode) for size in (16, 8)]
    info = {"compression": compression, "tiffinfo": {254: 0}}
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], **info)
    with pytest.raises(LIIFError, match="has 2 pages"):
        read(tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[1].tags[254].overwrite(1)
    assert read(tmp_path / "a.tif").size == (16, 16)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_is_turned_upright_once(tmp_path, dtype, compression, orientation):
    stored = values(5, 7, 1, dtype)[..., 0]
    info = {274: orientation, 282: 300, 283: 200, 296: 2}
    Image.fromarray(stored).save(tmp_path / "a.tif", compression=compression, tiffinfo=info)
    upright = [stored, stored[:, ::-1], stored[::-1, ::-1], stored[::-1],
               stored.T, stored.T[:, ::-1], stored.T[::-1, ::-1], stored.T[::-1]]  # fmt: skip
    image = read(tmp_path / "a.tif")
    assert np.array_equal(image.pixels[..., 0], upright[orientation - 1])
    assert image.dpi == ((300, 200) if orientation < 5 else (200, 300))
    assert np.array_equal(decode((tmp_path / "a.tif").read_bytes(), "a.tif", 1)[..., 0], stored)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("extra, note", [
    ((274, 3, 1, 6, True), "a rotated image does not keep its position on the map (GeoTIFF tags)"),
    ((TIE_POINTS, 12, 1, 0.5, True), "the GeoTIFF tags are not kept, because 33922 is damaged"),
    ((KEYS, 4, 4, (1, 1, 0, 1 << 20), True), "the GeoTIFF tags are not kept, because 34735 is damaged"),
    ((TEXT_KEYS, 3, 1, 5, True), "the GeoTIFF tags are not kept, because 34737 is damaged"),
    ((DOUBLE_KEYS, 12, 1, 6378137.0, True), None),
], ids=["rotated", "points", "keys", "text", "one double"])  # fmt: skip
def test_position_is_dropped_with_a_note_if_it_is_wrong(tmp_path, dtype, extra, note):
    tags = [extra, (PIXEL_SCALE, 12, 3, (10.0, 10.0, 0.0), True), (NODATA, 2, 0, "7", True)]
    pixels = values(5, 6, 3, dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=tags, metadata=None)
    image = read(tmp_path / "a.tif")
    assert image.notes == ((note,) if note else ()) and image.nodata == 7
    placed = {PIXEL_SCALE: (10.0, 10.0, 0.0), DOUBLE_KEYS: (6378137.0,)}
    assert read_file(written(image, ".tif")).tags == {NODATA: "7", **({} if note else placed)}


@pytest.mark.parametrize("tag, offset, content", [
    (None, -5, b"\x55"), (256, 2, b"\2"), (256, 4, b"\2"), (257, 2, b"\5"), (257, 8, b"\0"),
], ids=["data", "text", "two widths", "rational", "no rows"])  # fmt: skip
def test_damaged_tiff_is_never_read_with_less_depth(tmp_path, tag, offset, content):
    squares = np.arange(64, dtype=np.uint16) ** 2
    pixels = np.stack([np.add.outer(squares * 9, squares * 4)] * 3, -1)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="zlib", rowsperstrip=16)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        offset += page.tags[tag].offset if tag else page.dataoffsets[0] + page.databytecounts[0]
    whole = (tmp_path / "a.tif").read_bytes()
    assert whole[offset] != content[0]
    (tmp_path / "a.tif").write_bytes(whole[:offset] + content + whole[offset + 1 :])
    for read_damaged in (lambda: read(tmp_path / "a.tif"), lambda: decode((tmp_path / "a.tif").read_bytes(), "a")):
        with pytest.raises(LIIFError, match="is corrupt"):
            read_damaged()


def test_deep_files_in_other_colors_are_refused(tmp_path):
    """Pillow would round the pixels to 8 bits."""
    tifffile.imwrite(tmp_path / "a.tif", values(9, 7, 4, "uint16"), photometric="separated")
    message = "has uint16 pixels in the color space SEPARATED, which is not supported; save it as RGB or as plain bands"
    with pytest.raises(LIIFError, match=message):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("pixel_is_point", [False, True])
def test_map_position_follows_the_scale(tmp_path, pixel_is_point):
    keys = (1, 1, 0, 1, 1025, 0, 1, 2 if pixel_is_point else 1)
    points = (1.0, 2.0, 0.0, 500.0, 900.0, 0.0, 0.0, 0.0, 0.0, 490.0, 940.0, 0.0)
    tags = {PIXEL_SCALE: (10.0, 20.0, 0.0), TIE_POINTS: points}
    matrix = (10.0, 0.0, 0.0, 490.0, 0.0, -20.0, 0.0, 940.0, *[0.0] * 7, 1.0)
    image = LoadedImage(values(6, 4, 2, "int16"), rgb=False, alpha=False)
    kept = {KEYS: keys, DOUBLE_KEYS: (0.5, 298.25), TEXT_KEYS: "UTM zone 32N|"}
    image = image._replace(tags={**tags, **kept, TRANSFORMATION: matrix, NODATA: "-5"})
    file = io.BytesIO()
    BY_SUFFIX[".tif"].write(file, iter([values(18, 8, 2, "int16")]), (18, 8, 2), image)  # x3 along y, x2 along x
    file.seek(0)
    again = read_file(file)
    assert again.nodata == -5 and again.tags[PIXEL_SCALE] == (5, 20 / 3, 0)
    assert {tag: again.tags[tag] for tag in kept} == kept
    # A pixel keeps its position on the map: the center of input pixel (row 2, col 1), computed from both files.
    shift = 0 if pixel_is_point else 0.5
    i, j = (1.5 * 2 - 0.5 + shift, 2.5 * 3 - 0.5 + shift)
    own = (1 + shift, 2 + shift)
    expected = (500 + (own[0] - 1) * 10, 900 - (own[1] - 2) * 20)
    for i0, j0, _, x0, y0, _ in np.reshape(again.tags[TIE_POINTS], (2, 6)):
        assert (x0 + (i - i0) * 5, y0 - (j - j0) * 20 / 3) == pytest.approx(expected)
    m = again.tags[TRANSFORMATION]
    assert (m[0] * i + m[3], m[5] * j + m[7]) == pytest.approx((own[0] * 10 + 490, own[1] * -20 + 940))


def test_exr_of_other_programs(tmp_path):
    library = pytest.importorskip("OpenEXR")
    planes = {name: values(4, 5, 1, "float16")[..., 0] + k for k, name in enumerate(["Z", "A", "G", "R", "B"])}
    library.File({"comments": "a render"}, dict(planes)).write(str(tmp_path / "a.exr"))
    image = read(tmp_path / "a.exr")
    assert image.names == ("R", "G", "B", "Z", "A") and image.has_rgb and image.has_alpha and image.dtype == "float16"
    assert all(np.array_equal(image.pixels[..., k], planes[name]) for k, name in enumerate(image.names))
    again = read_file(written(image, ".exr"))
    assert again.names == image.names and again.tags["comments"] == "a render"
    assert select_bands(image, (3,)).names == ("Z",)


@pytest.mark.parametrize("write, says", [
    (lambda p: np.save(p, np.zeros((2, 2), np.int64)), "has int64 values, which are not supported"),
    (lambda p: np.save(p, np.zeros((2, 2, 2, 2), np.float32)), r"has shape \(2, 2, 2, 2\); expected \(height, width"),
    (lambda p: np.save(p, np.array([{}]), allow_pickle=True), "has object values"),
    (lambda p: p.write_bytes(b"\x93NUMPY\x01\0"), "is corrupt"),
    (lambda p: tifffile.imwrite(p, np.zeros((3, 4, 5), np.float32), photometric="minisblack"), "has 3 pages"),
    (lambda p: tifffile.imwrite(p, np.zeros((4, 5), np.complex64)), "has complex64 pixels, which are not supported"),
    (lambda p: tifffile.imwrite(p, np.zeros((4, 5), np.uint32)), "has uint32 pixels, which are not supported"),
    (lambda p: p.write_bytes(b"\x76\x2f\x31\x01" + bytes(99)), "is corrupt|needs OpenEXR"),
])  # fmt: skip
def test_unsupported_arrays(tmp_path, write, says):
    path = tmp_path / "a.npy"
    write(path)
    with pytest.raises(LIIFError, match=says) as error:
        read(path)
    assert "\n" not in str(error.value)


def test_bands_of_different_depths_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages.first.tags["BitsPerSample"].overwrite((5, 6, 5))
    with pytest.raises(LIIFError, match="has bands of 5, 6, 5 bits, which are not supported; save it with 8"):
        read(tmp_path / "a.tif")


def test_cut_npy(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((9, 9), np.float32))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-1])
    with pytest.raises(LIIFError, match="is corrupt .323 bytes for an array .9, 9. of float32"):
        read(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(whole + b"x")
    with pytest.raises(LIIFError, match="is corrupt .325 bytes for an array"):
        read(tmp_path / "a.npy")
    huge = whole.replace(b"(9, 9), ", b"(9999999999, 9), ").replace(b"         \n", b"\n")
    (tmp_path / "a.npy").write_bytes(huge)
    with pytest.raises(LIIFError, match="million pixels"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f4", "<u2", ">i2"])
def test_npy_of_any_byte_order(tmp_path, dtype, order):
    pixels = np.asarray(values(3, 4, 5, "int16"), dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", pixels)
    found = read(tmp_path / "a.npy").pixels
    assert np.array_equal(found, pixels) and found.dtype.isnative and found.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize("suffix, bands, dtype, says", [
    (".png", 3, "float32", "has float32 pixels, but PNG supports only uint8 and uint16; write a .tif or .npy"),
    (".png", 5, "uint8", "has 5 bands, but PNG supports only gray and RGB; write a .tif or .npy"),
    (".jpg", 1, "int16", "has int16 pixels, but JPEG supports only uint8; write"),
    (".exr", 3, "uint16", "has uint16 pixels, but EXR supports only float16 and float32; write a .png or .tif"),
    (".exr", 3, "float64", "has float64 pixels, but EXR supports only float16 and float32; write a .tif or .npy"),
])  # fmt: skip
def test_formats_that_cannot_hold_the_pixels(suffix, bands, dtype, says):
    image = LoadedImage(values(2, 2, bands, dtype))
    with pytest.raises(LIIFError, match=says):
        check_format(Path(f"a{suffix}"), image, image.shape)


@pytest.mark.parametrize("description, note", [
    ("ImageJ=1.53\nimages=1", "the ImageJ metadata is not kept"), ('{"shape": [4, 5]}', None),
    ('<?xml version="1.0"?><OME xmlns="x"/>', "the OME metadata is not kept"), ("<?xml version='1.0'?><mine/>", None),
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_descriptions_that_state_the_size_are_not_kept(tmp_path, dtype, description, note):
    tifffile.imwrite(tmp_path / "a.tif", values(4, 5, 1, dtype)[..., 0], description=description, metadata=None)
    image = read(tmp_path / "a.tif")
    assert image.notes == ((note,) if note else ())
    assert (0x010E in image.exif) == ("mine" in description)
