"""Metadata of files is kept, or its loss is reported. Metadata never prevents an image from being written."""
from __future__ import annotations

import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from image_files import SRGB, image, ramp
from PIL import Image

from liif_basicsr.files import atomic_write
from liif_basicsr.images import reading
from liif_basicsr.images.formats import collect_notes
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.reading import from_image, read
from liif_basicsr.images.writing import BY_SUFFIX

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
TEXT = "© Jörg"


def write(path, loaded: LoadedImage) -> list[str]:
    """Write the loaded pixels, and return the notes."""
    with collect_notes() as notes, atomic_write(path) as file:
        BY_SUFFIX[path.suffix].write(file, iter([loaded.pixels]), loaded.pixels.shape, loaded)
    return notes


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_resolution_is_kept(tmp_path, suffix):
    path = tmp_path / f"in{suffix}"
    image("RGB").save(path, dpi=(300, 200))
    loaded = read(path)
    assert loaded.dpi == pytest.approx((300, 200), abs=0.02)
    assert not write(tmp_path / f"out{suffix}", loaded)
    with Image.open(tmp_path / f"out{suffix}") as made:
        assert made.info["dpi"] == pytest.approx((300, 200), abs=0.02)


def test_resolution_turns_with_the_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image("RGB").save(tmp_path / "a.jpg", dpi=(300, 200), exif=exif)
    assert read(tmp_path / "a.jpg").dpi == (200, 300)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("unit, factor", [(1, None), (2, 1), (3, 2.54)])
def test_unit_of_a_tiff_resolution(tmp_path, unit, factor, dtype):
    tifffile.imwrite(tmp_path / "a.tif", ramp(5, 6, 3, dtype), resolution=(300, 200), resolutionunit=unit)
    assert read(tmp_path / "a.tif").dpi == (factor and pytest.approx((300 * factor, 200 * factor)))


@pytest.mark.parametrize("dpi", [(0, 0), (float("nan"), 3), ("x", 1), (1e9, 1), (3,), None])
def test_nonsense_resolution_is_dropped(dpi):
    source = image("RGB")
    source.info["dpi"] = dpi
    assert from_image(source).dpi is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_xmp_is_kept_without_its_orientation(tmp_path, suffix):
    source = from_image(image("RGB"))._replace(xmp=XMP % 6)
    assert not write(tmp_path / f"a{suffix}", source)
    xmp = read(tmp_path / f"a{suffix}").xmp
    assert xmp in (XMP % 1, (XMP % 1).replace(b'tiff:Orientation="1"', b""))  # Pillow removes it from TIFF


@pytest.mark.parametrize("suffix, lost", [
    (".png", []), (".jpg", []), (".tif", []), (".webp", ["resolution"]),
    (".bmp", ["color profile", "EXIF", "XMP"]), (".ppm", ["color profile", "EXIF", "XMP", "resolution"]),
])  # fmt: skip
def test_lost_metadata_is_listed(suffix, lost):
    loaded = LoadedImage(ramp(3, 3), SRGB, {0x010E: "x"}, (), (72, 72), XMP % 1)
    assert BY_SUFFIX[suffix].lost_metadata(loaded) == lost
    assert BY_SUFFIX[suffix].lost_metadata(LoadedImage(ramp(3, 3))) == []


@pytest.mark.parametrize("source_suffix", [".jpg", ".tif", ".png"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_text_that_is_not_ascii_is_kept_exactly(tmp_path, source_suffix, suffix):
    exif, path = Image.Exif(), tmp_path / f"in{source_suffix}"
    exif[0x8298] = exif[0x010E] = "#" * 8
    exif[0x8769] = {0xA433: "#" * 8}  # the lens maker, in a subdirectory
    image("RGB").save(path, exif=exif.tobytes())
    content = path.read_bytes()
    assert content.count(b"#" * 8) == 3
    # Cameras write such text. In a PNG, the checksum of the chunk is wrong afterwards.
    path.write_bytes(content.replace(b"#" * 8, TEXT.encode()))
    if source_suffix == ".png":
        loaded = from_image(image("RGB"))._replace(exif={0x8298: TEXT, 0x010E: TEXT, 0x8769: {0xA433: TEXT}})
    else:
        loaded = read(path)
    assert not write(tmp_path / f"out{suffix}", loaded)
    text = TEXT.encode("latin-1" if source_suffix == ".png" else "utf-8")
    assert (tmp_path / f"out{suffix}").read_bytes().count(text) == 3


def test_text_of_any_script(tmp_path):
    write(tmp_path / "a.tif", from_image(image("RGB"))._replace(exif={0x010E: "写真"}))
    assert "写真".encode() in (tmp_path / "a.tif").read_bytes()


def test_interoperability_pointer_is_dropped(tmp_path):
    exif = Image.Exif()
    exif[0x8769] = {0x829A: 0.008, 0xA005: 12345}
    exif[0x010E] = "x"
    image("RGB").save(tmp_path / "a.jpg", exif=exif.tobytes())
    assert 0xA005 not in read(tmp_path / "a.jpg").exif[0x8769]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("exif", [
    {0x010E: "x", 0x8769: {0x829A: object()}}, {0x010E: "y" * 70_000},
], ids=["odd", "long"])  # fmt: skip
def test_unwritable_exif_does_not_lose_the_image(tmp_path, suffix, exif):
    notes = write(tmp_path / f"a{suffix}", from_image(image("RGB"))._replace(exif=exif))
    with Image.open(tmp_path / f"a{suffix}") as made:
        made.load()
    assert bool(notes) == (suffix == ".jpg" or 0x8769 in exif)


def test_xmp_too_long_for_jpeg_is_reported(tmp_path):
    notes = write(tmp_path / "a.jpg", from_image(image("RGB"))._replace(xmp=b"x" * 70_000))
    assert notes == ["XMP is not kept, because JPEG stores at most 65533 bytes of it"]


def png_with(path, kind: bytes, content: bytes):
    """Write a PNG with a chunk after its header."""
    image("RGB").save(path)
    whole, crc = path.read_bytes(), zlib.crc32(kind + content)
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)
    path.write_bytes(whole[:33] + chunk + whole[33:])
    return path


@pytest.mark.parametrize("kind, content, says", [
    (b"cICP", bytes([9, 16, 0, 1]), ["the color space (cICP) is not kept; the output is shown as sRGB"]),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
     ["the primaries (cHRM) are not kept; the output is shown as sRGB"]),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), []),
    (b"tEXt", b"Copyright\0me", ["the metadata Copyright is not kept"]),
    (b"iTXt", b"workflow\0\0\0\0\0{}", ["the metadata workflow is not kept"]),
    (b"tEXt", b"Software\0editor", []), (b"tEXt", b"date:create\x002020", []),
], ids=["cICP", "wide cHRM", "cHRM of sRGB", "copyright", "workflow", "software", "date"])  # fmt: skip
def test_lost_chunks_of_a_png_are_reported(tmp_path, kind, content, says):
    assert list(read(png_with(tmp_path / "a.png", kind, content)).notes) == says


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB"])
def test_transparent_color_of_a_png(tmp_path, mode):
    colors = np.asarray(image(mode)).reshape(12, 17, -1)
    image(mode).save(tmp_path / "a.png", transparency=image(mode).getpixel((3, 2)))
    opacity = (colors != colors[2, 3]).any(-1, keepdims=True) * np.iinfo(colors.dtype).max
    assert np.array_equal(read(tmp_path / "a.png").pixels, np.concatenate([colors, opacity], -1))


def test_iptc_of_a_jpeg_is_reported(tmp_path):
    path, record = tmp_path / "a.jpg", b"\x1c\x02\x74\0\x07(c) me "
    image("RGB").save(path)
    segment = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + whole[2:])
    assert list(read(path).notes) == ["the metadata IPTC is not kept"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lost_tags_of_a_tiff_are_reported(tmp_path, dtype):
    tags = [(269, 2, 0, "name", True), (33723, 7, 4, b"\x1c\2x\0", True), (50844, 12, 92, (0.5,) * 92, True)]
    tifffile.imwrite(tmp_path / "a.tif", ramp(5, 6, 3, dtype), photometric="rgb", extratags=tags, metadata=None)
    assert read(tmp_path / "a.tif").notes == ("the metadata DocumentName, IPTC, RPC (camera model) is not kept",)


def test_lost_geometry_of_an_exr_is_reported(tmp_path):
    library = pytest.importorskip("OpenEXR")
    header = {"pixelAspectRatio": 2.0, "displayWindow": (np.array([-1, 0], np.int32), np.array([9, 9], np.int32))}
    library.File(header, {"Z": np.zeros((4, 6), np.float32)}).write(str(tmp_path / "a.exr"))
    lost = ("the pixel aspect ratio 2 is not kept", "the position in the display window is not kept")
    assert read(tmp_path / "a.exr").notes == lost


@pytest.mark.parametrize("kind", [1, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_xmp_of_any_tag_type(tmp_path, dtype, kind):
    tag = (700, kind, len(XMP), XMP, True)
    tifffile.imwrite(tmp_path / "a.tif", ramp(5, 6, 3, dtype), photometric="rgb", extratags=[tag], metadata=None)
    assert read(tmp_path / "a.tif").xmp == XMP


@pytest.mark.parametrize("index, profile, notes", [("R03", None, 1), ("R98", None, 0), ("R03", SRGB, 0)])
def test_adobe_rgb_of_a_camera_is_reported(tmp_path, index, profile, notes):
    exif = Image.Exif()
    exif[0x8769] = {0xA005: {1: index}}
    image("RGB").save(tmp_path / "a.jpg", exif=exif.tobytes(), icc_profile=profile)
    assert [note[:25] for note in read(tmp_path / "a.jpg").notes] == ["the color space Adobe RGB"] * notes


@pytest.mark.parametrize("mode, notes", [("RGB;16", 1), ("RGB", 0)])
def test_deep_heic_is_reported(tmp_path, mode, notes):
    pytest.importorskip("pillow_heif").from_bytes(mode, (48, 32), bytes(48 * 32 * 6)).save(tmp_path / "a.heic")
    assert read(tmp_path / "a.heic").notes == ("the pixels have more than 8 bits and are rounded to 8 bits",) * notes


def test_gamma_of_a_png_is_reported():
    linear, usual = image("RGB"), image("RGB")
    linear.info["gamma"], usual.info["gamma"] = 1.0, 0.45455
    with pytest.warns(UserWarning, match=r"the gamma of 1 \(gAMA\) is not kept"):
        from_image(linear)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_image(usual)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha", "unspecified"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_is_read_by_its_tags(tmp_path, monkeypatch, dtype, channels, planar, extra, compression):
    pixels = ramp(12, 17, channels, dtype)
    stored = pixels.copy()
    if extra == "assocalpha" and channels in (2, 4):
        alpha = pixels[..., -1:] / np.iinfo(dtype).max
        stored[..., :-1] = (pixels[..., :-1] * alpha).round()
    stored = stored[..., 0] if channels == 1 else stored.transpose(2, 0, 1) if planar == "separate" else stored
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="rgb" if channels > 2 else "minisblack", compression=compression,
        planarconfig=None if channels == 1 else planar, extrasamples=[extra] if channels in (2, 4) else None,
    )  # fmt: skip
    if channels == 2 and extra == "assocalpha":
        monkeypatch.setattr(reading, "open_image", None)  # Pillow cannot open such files before version 13
    found = read(tmp_path / "a.tif")
    assert found.shape == pixels.shape and found.dtype == dtype
    assert found.has_alpha == (channels in (2, 4) and extra != "unspecified") and found.has_rgb == (channels > 2)
    assert np.abs(found.pixels.astype(int) - pixels).max() <= (4 if extra == "assocalpha" else 0)


def test_deep_tiff_with_white_as_zero(tmp_path):
    pixels = ramp(5, 6, 1, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", 65535 - pixels[..., 0], photometric="miniswhite")
    assert np.array_equal(read(tmp_path / "a.tif").pixels, pixels)


@pytest.mark.parametrize("kind", [b"tEXt", b"iCCP", b"pHYs", b"eXIf", b"gAMA"])
def test_png_with_a_damaged_chunk_is_read_with_a_note(tmp_path, kind):
    path = tmp_path / "a.png"
    image("RGBA").save(path, dpi=(300, 300))
    content = path.read_bytes()
    path.write_bytes(content[:33] + b"\0\0\0\4" + kind + b"text" + b"\0\0\0\0" + content[33:])
    loaded = read(path)
    assert np.array_equal(loaded.pixels, np.asarray(image("RGBA"))) and loaded.notes
    assert loaded.dpi == pytest.approx((300, 300), abs=0.02)  # intact chunks are used


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_short_exif_is_left_out_with_a_note(tmp_path, suffix):
    image("RGB").save(tmp_path / f"a.{suffix}", exif=b"Exif\0\0MM\0")
    loaded = read(tmp_path / f"a.{suffix}")
    assert loaded.pixels.shape == (12, 17, 3) and loaded.exif == {}
    assert suffix == "jpg" or "the EXIF data is damaged and not used" in loaded.notes  # Pillow is silent about JPEG
