"""A crop that is decoded alone equals the crop of the whole image."""
from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from datafiles import make_lmdb, noise_image, save
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from liif_basicsr.data.decode import decode
from liif_basicsr.data.png import crop_png
from liif_basicsr.data.prepare.images import Settings, encode_png, open_any, store
from liif_basicsr.data.source import open_source

needs_filter = pytest.mark.skipif(
    not hasattr(cv2, "IMWRITE_PNG_FILTER"), reason="OpenCV before 4.12 cannot write PNGs with the filter 'up'"
)
LEVELS = [0, 1, 9]


def smooth_image(height: int, width: int) -> np.ndarray:
    return cv2.GaussianBlur(noise_image(height, width), (5, 5), 2)


@given(size=st.tuples(st.integers(1, 70), st.integers(1, 70)), level=st.sampled_from(LEVELS), smooth=st.booleans())
def test_an_encoded_image_decodes_to_itself(size: tuple[int, int], level: int, smooth: bool) -> None:
    image = smooth_image(*size) if smooth else noise_image(*size)
    assert np.array_equal(decode(encode_png(image, level), "image"), image)


@needs_filter
@given(
    size=st.tuples(st.integers(2, 70), st.integers(1, 70)),  # libpng does not filter a single row
    level=st.sampled_from(LEVELS),
    smooth=st.booleans(),
    data=st.data(),
)
def test_a_crop_equals_that_of_the_image(size: tuple[int, int], level: int, smooth: bool, data: st.DataObject) -> None:
    image = smooth_image(*size) if smooth else noise_image(*size)
    top, left = (data.draw(st.integers(0, n - 1)) for n in size)
    height, width = data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left))
    part = crop_png(encode_png(image, level), size, (top, left), (height, width))
    assert np.array_equal(part, image[top : top + height, left : left + width])


def pillow_file(image: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def test_other_files_are_left_to_the_decoder() -> None:
    image = noise_image(30, 40)
    others = [
        pillow_file(image, "JPEG"),
        pillow_file(image[..., 0], "PNG"),
        pillow_file(np.dstack((image, image[..., :1])), "PNG"),
        pillow_file(smooth_image(30, 40), "PNG"),
        encode_png(image[:, :-1], 1),
        encode_png(image, 1)[:20],
        b"",
    ]
    for content in others:
        assert crop_png(content, (30, 40), (3, 4), (20, 20)) is None


@needs_filter
@pytest.mark.parametrize("level", [0, 1])
def test_corrupt_files_never_decode_to_wrong_pixels(level: int) -> None:
    image = noise_image(30, 40)
    content = encode_png(image, level)
    rng = np.random.default_rng(3)
    for _ in range(300):
        corrupt = bytearray(content)
        corrupt[rng.integers(len(corrupt))] ^= 1 << int(rng.integers(8))
        end = rng.integers(len(corrupt)) if rng.random() < 0.2 else len(corrupt)
        part = crop_png(bytes(corrupt[:end]), (30, 40), (3, 4), (20, 20))
        assert part is None or np.array_equal(part, image[3:23, 4:24])


def test_an_lmdb_of_either_tool_yields_the_crops_of_the_image(tmp_path: Path) -> None:
    image = noise_image(50, 60)
    save(tmp_path / "photos" / "a.png", image)
    store(open_any(tmp_path / "photos"), tmp_path / "ours.lmdb", Settings())
    make_lmdb(tmp_path / "basicsrs.lmdb", {"a": image})
    for name in ("ours.lmdb", "basicsrs.lmdb"):
        source = open_source(str(tmp_path / name), "lmdb")
        assert np.array_equal(source.crop(0, (5, 7), (30, 40)), image[5:35, 7:47])
