"""Hostile and unusual files in one folder. Each has its expected outcome, and none affects the others."""
from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import tifffile
from image_files import SRGB, exif_of, image, model, ramp
from PIL import Image, PngImagePlugin

from liif_basicsr.images.reading import read

__all__ = ["model"]
LONG = "n" * 251 + ".png"


class Made(NamedTuple):
    """The image is written, with this size (W, H), mode and bits, and with a note that contains this word."""

    size: tuple[int, int]
    mode: str = "RGB"
    bits: int = 8
    note: str = ""


Write = Callable[[Path], object]
TWICE = Made((34, 24))
CORPUS: dict[str, tuple[Write, Made | str]] = {}


def add(name: str, outcome: Made | str, write: Write | bytes) -> None:
    """Add a file to the corpus: a function that writes it, and its outcome, `Made` or words of the error."""
    content = write
    CORPUS[name] = ((lambda path: path.write_bytes(content)) if isinstance(content, bytes) else write, outcome)


def encoded(loaded: Image.Image, form: str, **how: object) -> bytes:
    file = BytesIO()
    loaded.save(file, form, **how)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, color: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def text_bomb(path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("bomb", "0" * 80_000_000, zip=True)
    image("RGB").save(path, pnginfo=info)


def tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    lines = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + lines + struct.pack("<I", following)


def deep(channels: int) -> np.ndarray:
    pixels = ramp(12, 17, channels, np.uint16)
    return pixels[..., 0] if channels == 1 else pixels


PNG, JPEG, RGBA = encoded(image("RGB"), "PNG"), encoded(image("RGB", 99, 99), "JPEG"), image("RGBA")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8))
SIZE_IN_JPEG = struct.pack(">HH", 99, 99)

# Sizes
add("1x1.png", Made((2, 2)), lambda p: image("RGB", 1, 1).save(p))
add("1x1.jpg", Made((2, 2)), lambda p: image("RGB", 1, 1).save(p))
add("1xN.png", Made((600, 2)), lambda p: image("RGB", 1, 300).save(p))
add("Nx1.webp", Made((2, 600)), lambda p: image("RGB", 300, 1).save(p))
add("a_million_wide.png", Made((2_000_000, 2), "L"), lambda p: image("L", 1, 1_000_000).save(p))
add("very_high.tif", Made((2, 200_000), "L"), lambda p: image("L", 100_000, 1).save(p))
add("wide_as_jpeg_goes.jpg", "too large for JPEG", lambda p: image("L", 1, 65000).save(p))
add("wide_as_webp_goes.webp", "too large for WebP", lambda p: image("RGB", 1, 9000).save(p))
add("no_width.png", "is not a PNG", png(0, 5, 8, 2, chunk(b"IDAT", b"")))
# Modes
add("bilevel.png", TWICE._replace(mode="L"), lambda p: image("1").save(p))
add("palette.png", TWICE, lambda p: image("P").save(p))
add("palette_transparent.png", TWICE._replace(mode="RGBA"), lambda p: image("P").save(p, transparency=b"\0\x80"))
add("palette.bmp", TWICE, lambda p: image("P").save(p))
add("palette.tif", TWICE, lambda p: image("P").save(p))
add("fax.tif", TWICE._replace(mode="L"), lambda p: image("1").save(p, compression="group4"))
add("gray.jpg", TWICE._replace(mode="L"), lambda p: image("L").save(p))
add("gray_one_transparent.png", TWICE._replace(mode="LA"), lambda p: image("L").save(p, transparency=80))
add("rgb_one_transparent.png", TWICE._replace(mode="RGBA"), lambda p: image("RGB").save(p, transparency=(80, 80, 80)))
add("gray_alpha.png", TWICE._replace(mode="LA"), lambda p: image("LA").save(p))
add("alpha.webp", TWICE._replace(mode="RGBA"), lambda p: RGBA.save(p, lossless=True))
add("alpha.tif", TWICE._replace(mode="RGBA"), lambda p: RGBA.save(p))
add("cmyk.jpg", TWICE, lambda p: image("CMYK").save(p))
add("cmyk.tif", TWICE, lambda p: image("CMYK").save(p))
add("ycbcr.tif", TWICE, lambda p: image("YCbCr").save(p, compression="jpeg"))
add("lab.tif", "are not supported", lambda p: image("LAB").save(p))
add("float.tif", "pass the range of the training data with --value-range", lambda p: image("F").save(p))
add("int32.tif", "are not supported", lambda p: image("I").save(p))
add("deep_gray.png", Made((34, 24), "I;16", 16), lambda p: image("I;16").save(p))
add("deep_gray.tif", Made((34, 24), "I;16", 16), lambda p: tifffile.imwrite(p, deep(1), byteorder=">"))
add("deep_rgb.png", Made((34, 24), "RGB", 16), lambda p: cv2.imwrite(str(p), deep(3)))
add("deep_rgba.png", Made((34, 24), "RGBA", 16), lambda p: cv2.imwrite(str(p), deep(4)))
add("deep_rgb_lzw.tif", Made((34, 24), "RGB", 16), lambda p: cv2.imwrite(str(p), deep(3)))
rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep(2))
add("deep_gray_alpha.png", Made((34, 24), "LA", 16), png(17, 12, 16, 4, chunk(b"IDAT", zlib.compress(rows))))
add("tiled.tif", TWICE, lambda p: tifffile.imwrite(p, ramp(12, 17), tile=(16, 16), photometric="rgb"))
add("planes.tif", TWICE, lambda p: tifffile.imwrite(p, ramp(12, 17).transpose(2, 0, 1), photometric="rgb"))
add("big.tif", TWICE, lambda p: tifffile.imwrite(p, ramp(12, 17), bigtiff=True, photometric="rgb"))
add("progressive.jpg", TWICE, lambda p: image("RGB").save(p, progressive=True))
add("two_pages.tif", "2 pages", lambda p: image("RGB").save(p, save_all=True, append_images=[image("L")]))
add("animated.webp", "2 frames", lambda p: image("RGB").save(p, save_all=True, append_images=[NOISE.resize((17, 12))]))
add("animated.png", "2 frames", lambda p: image("RGB").save(p, save_all=True, append_images=[NOISE.resize((17, 12))]))
# Names
add("jpeg.named.png", Made((198, 198)), JPEG)
add("png.named.jpg", TWICE, PNG)
add("alpha.named.jpg", "has transparent pixels", encoded(RGBA, "PNG"))
add("deep.named.webp", "has uint16 pixels", lambda p: p.write_bytes(cv2.imencode(".png", deep(3))[1].tobytes()))
add("CAPITALS.PNG", TWICE, PNG)
add("sp ace, ünï 画 %d {x} $(id).png", TWICE, PNG)
add("-leading.png", TWICE, PNG)
add("new\nline.png", TWICE, PNG)
add(os.fsdecode(b"\xff\xfe.png"), TWICE, PNG)
add(LONG, TWICE, PNG)
# Not images
add("empty.png", "is not a PNG", b"")
add("text.jpg", "is not a PNG", b"<html>404</html>")
add("noise.webp", "is not a PNG", np.random.default_rng(1).bytes(5000))
add("gif.named.png", TWICE._replace(mode="RGB"), encoded(image("L"), "GIF"))
add("program.named.png", "is not a PNG", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) (w) file\n")
add("folder.png", "is not a regular file", lambda p: p.mkdir())
add("pipe.png", "is not a regular file", os.mkfifo)
add("endless.png", "is not a regular file", lambda p: p.symlink_to("/dev/zero"))
add("dangling.png", "cannot be read", lambda p: p.symlink_to("nowhere"))
add("loop.png", "cannot be read", lambda p: p.symlink_to(p.name))
# Corrupt
for suffix, form in {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".bmp": "BMP"}.items():
    add(f"half{suffix}", "is corrupt", encoded(NOISE, form)[: len(encoded(NOISE, form)) // 2])
    add(f"head{suffix}", "is ", encoded(NOISE, form)[:20])
add("one_byte_wrong.png", "is corrupt", PNG[:-30] + bytes([PNG[-30] ^ 1]) + PNG[-29:])
add("not_deflated.png", "is corrupt", png(9, 9, 8, 2, chunk(b"IDAT", b"rubbish" * 99)))
# A valid file with fewer rows than its header says. The missing rows are black, as in other programs.
add("too_few_rows.png", Made((198, 198), "L"), png(99, 99, 8, 0, chunk(b"IDAT", zlib.compress(bytes(500)))))
add("no_pixels.png", "is corrupt", png(9, 9, 8, 2))
add("pages_in_a_ring.tif", "is ", tiff((256, 3, 1, 9), (257, 3, 1, 9), following=8))
add("tags_out_of_file.tif", "is ", tiff((256, 3, 1, 9), (257, 3, 1, 9), (273, 4, 9, 1 << 30), (279, 4, 1, 1 << 30)))
add("deep_damaged.png", "is corrupt", lambda p: p.write_bytes(cv2.imencode(".png", deep(3))[1].tobytes()[:-60]))
# Bombs
zeros = zlib.compress(bytes(50_000 * 6251))
add("bomb.png", "million pixels", png(50_000, 50_000, 1, 0, chunk(b"IDAT", zeros)))
add("lying.png", "million pixels", png(2**31 - 1, 2**31 - 1, 16, 6, chunk(b"IDAT", b"")))
add("lying.jpg", "million pixels", JPEG.replace(SIZE_IN_JPEG, b"\xff\xff\xff\xff", 1))
lying = struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 90_000, 90_000, 1, 24, *[0] * 6)
add("lying.bmp", "million pixels", b"BM" + lying)
add("lying.tif", "million pixels", tiff((256, 4, 1, 1 << 30), (257, 4, 1, 1 << 30), (262, 3, 1, 1), (273, 4, 1, 8)))
add("text_bomb.png", "is corrupt", text_bomb)
# Metadata
add("exif_of_noise.jpg", TWICE, encoded(image("RGB"), "JPEG", exif=b"Exif\0\0" + np.random.default_rng(2).bytes(200)))
add("orientation_99.jpg", TWICE, encoded(image("RGB"), "JPEG", exif=exif_of("x", 99).tobytes()))
add("sideways.jpg", Made((24, 34)), encoded(image("RGB"), "JPEG", exif=exif_of("x", 6).tobytes()))
add("profile_of_noise.png", TWICE, encoded(image("RGB"), "PNG", icc_profile=b"noise" * 50))
add("cmyk_profile_of_noise.jpg", TWICE._replace(note="profile"), encoded(image("CMYK"), "JPEG", icc_profile=b"n" * 99))
add("gray_with_rgb_profile.png", TWICE._replace(mode="L"), encoded(image("L"), "PNG", icc_profile=SRGB))


@pytest.fixture(scope="module")
def done(model, tmp_path_factory):
    """Upscale the whole corpus with one command, and return the output folder and the finished process."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "in").mkdir()
    for name, (write, _) in CORPUS.items():
        write(folder / "in" / name)
    command = [sys.executable, "-m", "liif_basicsr", "upscale", "in", "out", "--scale", "2", "--model", model]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    return folder / "out", run


def printed(name: str) -> str:
    return name.replace("\n", "\\n").replace("\udcff\udcfe", "\\udcff\\udcfe")


@pytest.mark.parametrize("name", CORPUS, ids=lambda name: printed(name)[:40])
def test_each_file_has_its_expected_outcome(done, name):
    out, run = done
    outcome = CORPUS[name][1]
    said = [line for line in run.stderr.partition("\n\n")[0].splitlines() if line.startswith(f"in/{printed(name)}: ")]
    if isinstance(outcome, str):
        assert len(said) == 1 and outcome in said[0]
        assert not os.path.lexists(out / name)
        return
    assert (len(said) == 1 and outcome.note in said[0]) if outcome.note else len(said) <= 1
    assert f"\nout/{printed(name)}: " in f"\n{run.stdout}"
    with Image.open(out / name) as made:
        assert made.size == outcome.size
        if outcome.bits == 8 or outcome.mode == "I;16":
            assert made.mode == outcome.mode
    pixels = read(out / name).pixels
    assert pixels.dtype.itemsize * 8 == outcome.bits
    assert pixels.shape[2] == {"L": 1, "I;16": 1, "LA": 2, "RGB": 3, "RGBA": 4}[outcome.mode]


def test_failures_are_listed_at_the_end_and_nothing_else_is_printed(done):
    out, run = done
    bad = sorted(name for name, (_, outcome) in CORPUS.items() if isinstance(outcome, str))
    reported, _, listed = run.stderr.partition("\n\n")
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert listed.startswith(f"{len(bad)} of {len(CORPUS)} images failed:\n")
    assert sorted(line.split(": ")[0].strip() for line in listed.splitlines()[1:]) == [f"in/{printed(n)}" for n in bad]
    assert not [line for line in reported.splitlines() if not line.startswith("in/")]
    assert len(run.stdout.splitlines()) == len(CORPUS) - len(bad)
    assert sorted(os.listdir(out)) == sorted(set(CORPUS) - set(bad))


def test_corpus_is_large():
    assert len(CORPUS) >= 40
