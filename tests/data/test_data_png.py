"""A crop that is decoded alone equals the crop of the whole image."""
from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from datafiles import make_lmdb, noise_image
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from liif_basicsr.data.decode import decode
from liif_basicsr.data.png import crop_png
from liif_basicsr.data.prepare.images import encode_png
from liif_basicsr.data.source import open_source


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    level=st.sampled_from([0, 1, 9]),
    smooth=st.booleans(),
    data=st.data(),
)
def test_a_crop_equals_that_of_the_whole(size: tuple[int, int], level: int, smooth: bool, data: st.DataObject) -> None:
    image = noise_image(*size)
    if smooth:
        image = cv2.GaussianBlur(image, (5, 5), 2)
    top, left = (data.draw(st.integers(0, n - 1)) for n in size)
    height, width = data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left))
    content = encode_png(image, level)
    assert np.array_equal(decode(content, "whole"), image)
    if hasattr(cv2, "IMWRITE_PNG_FILTER") and size[0] > 1:  # libpng has no row above to take off a single one
        part = crop_png(content, size, (top, left), (height, width))
        assert np.array_equal(part, image[top : top + height, left : left + width])


def pillow_file(image: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def test_other_files_are_left_to_the_decoder() -> None:
    image = noise_image(30, 40)
    smooth = cv2.GaussianBlur(image, (5, 5), 2)
    others = [
        pillow_file(image, "JPEG"),
        pillow_file(image[..., 0], "PNG"),
        pillow_file(np.dstack((image, image[..., :1])), "PNG"),
        pillow_file(smooth, "PNG"),
        encode_png(image[:, :-1], 1),
        encode_png(image, 1)[:20],
        b"",
    ]
    for content in others:
        assert crop_png(content, (30, 40), (3, 4), (20, 20)) is None


@pytest.mark.parametrize("level", [0, 1])
def test_damage_is_never_taken_for_a_image(level: int) -> None:
    image = noise_image(30, 40)
    content = encode_png(image, level)
    rng = np.random.default_rng(3)
    for _ in range(300):
        corrupt = bytearray(content)
        corrupt[rng.integers(len(corrupt))] ^= 1 << int(rng.integers(8))
        cut = bytes(corrupt[: rng.integers(len(corrupt))]) if rng.random() < 0.2 else bytes(corrupt)
        part = crop_png(cut, (30, 40), (3, 4), (20, 20))
        assert part is None or np.array_equal(part, image[3:23, 4:24])


def test_sources_give_the_same_crops_of_any_png(tmp_path) -> None:
    image = noise_image(50, 60)
    source = open_source(str(make_lmdb(tmp_path / "set.lmdb", {"a": image})), "lmdb")
    assert np.array_equal(source.crop(0, (5, 7), (30, 40)), image[5:35, 7:47])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").write_bytes(encode_png(image, 1))
    source = open_source(str(tmp_path / "folder"), "disk")
    assert np.array_equal(source.crop(0, (5, 7), (30, 40)), image[5:35, 7:47])
