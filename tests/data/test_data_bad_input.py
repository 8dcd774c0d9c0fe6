"""Bad data is reported in one line that names the file, before training if possible."""
from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from datafiles import build, make_lmdb, noise_image, paired_block, refused, save, train_block, val_block

from liif_basicsr.data.decode import decode
from liif_basicsr.data.prepare.storing import Settings, open_any, store
from liif_basicsr.errors import LIIFError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for k in range(3):
        save(tmp_path / "photos" / f"{k}.png", noise_image(60, 60, seed=k))
    return tmp_path / "photos"


def corrupt_file(path: Path) -> Path:
    """Corrupt the second half of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\0" * 20
    path.write_bytes(content)
    return path


# Reported when the dataset is built -------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("datasets/DIV2K/DIV2K_train_HR_sub.lmdb", "prepare div2k"),
        ("datasets/DIV2K/DIV2K_valid_HR", "DIV2K_valid_HR.zip"),
        ("datasets/Set5/GT_x2", "prepare benchmark"),
        ("datasets/quickstart/val", "prepare quickstart"),
        ("photographs", "prepare folder"),
    ],
)
def test_missing_folder_hints_at_its_download(tmp_path: Path, name: str, part: str) -> None:
    refused(lambda: build(val_block(tmp_path / name)), "dataroot_gt", name, "does not exist", part)


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    refused(lambda: build(train_block(tmp_path)), "dataroot_gt", str(tmp_path), "no images")


def test_images_smaller_than_the_crop(photos: Path, tmp_path: Path) -> None:
    save(photos / "small.png", noise_image(60, 47))
    refused(lambda: build(train_block(photos)), str(photos / "small.png"), "60x47", "48x48", "lq_size")
    small = make_lmdb(tmp_path / "set.lmdb", {"a": noise_image(47, 60)})
    refused(lambda: build(train_block(small)), "set.lmdb/a", "47x60", "48x48")


# Pillow could execute this EPS program.
PROGRAM = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n%%EndComments\n(x) (w) file\n"


@pytest.mark.parametrize("content", [b"not an image", PROGRAM], ids=["text", "program"])
def test_corrupt_image_header(photos: Path, content: bytes) -> None:
    (photos / "1.png").write_bytes(content)
    refused(lambda: build(train_block(photos)), str(photos / "1.png"), "corrupt")
    refused(lambda: build(val_block(photos)), str(photos / "1.png"), "corrupt")


def remove_meta(root: Path) -> None:
    (root / "meta_info.txt").unlink()


def add_key(root: Path) -> None:
    with open(root / "meta_info.txt", "a") as file:
        file.write("lost.png (60,60,3) 1\n")


def empty_meta(root: Path) -> None:
    (root / "meta_info.txt").write_text("")


def remove_data(root: Path) -> None:
    (root / "data.mdb").unlink()


def truncate_data(root: Path) -> None:
    os.truncate(root / "data.mdb", (root / "data.mdb").stat().st_size // 2)


def overwrite_header(root: Path) -> None:
    (root / "data.mdb").write_bytes(b"no LMDB" * 5000)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (remove_meta, "meta_info.txt"),
        (add_key, "'lost'"),
        (empty_meta, "no images"),
        (remove_data, "data.mdb"),
        (truncate_data, "cut short"),
        (overwrite_header, "damaged"),
    ],
)
def test_corrupt_lmdb(tmp_path: Path, change: Callable[[Path], None], part: str) -> None:
    root = make_lmdb(tmp_path / "set.lmdb", {str(k): noise_image(60, 60, seed=k) for k in range(9)})
    change(root)
    refused(lambda: build(train_block(root)), "dataroot_gt", "set.lmdb", part)


def test_truncated_pixels(tmp_path: Path, photos: Path) -> None:
    root = tmp_path / "set.pixels"
    store(open_any(photos), root, Settings(pixels=True))
    block = train_block(root, io_backend={"type": "pixels"})
    os.truncate(root / "pixels.bin", 60 * 60 * 3 * 2)
    refused(lambda: build(block), "pixels.bin", "its size is not 32400 bytes")
    (root / "meta_info.txt").write_text("0.png\n")
    refused(lambda: build(block), "meta_info.txt", "size")


def test_wrong_or_missing_meta_file(tmp_path: Path, photos: Path) -> None:
    meta = tmp_path / "meta.txt"
    refused(lambda: build(val_block(photos, meta_info_file=str(meta))), str(meta))
    meta.write_text("0.png (60,60,3)\n7.png (60,60,3)\n")
    refused(lambda: build(val_block(photos, meta_info_file=str(meta))), "7.png", "meta.txt", str(photos))
    meta.write_text("0.png (60,61,3)\n")
    dataset = build(val_block(photos, meta_info_file=str(meta)))
    refused(lambda: dataset[0], "0.png", "(60, 60)", "(60, 61)")


def test_mismatched_pairs(tmp_path: Path, photos: Path) -> None:
    lq = tmp_path / "lq"
    for k in range(3):
        save(lq / f"{k}.png", noise_image(30, 30))
    build(paired_block(photos, lq, scales=[2]))
    refused(lambda: build(paired_block(photos, lq)), "0.png", "60x60", "90x90")
    save(lq / "9.png", noise_image(30, 30))
    refused(lambda: build(paired_block(photos, lq, scales=[2])), str(lq), "4", "3")
    (lq / "1.png").unlink()
    refused(lambda: build(paired_block(photos, lq, scales=[2])), "1.png", str(lq))
    refused(lambda: build(paired_block(photos, tmp_path / "none")), "dataroot_lq", "none", "does not exist")


def test_scales_with_different_numbers_of_images(tmp_path: Path) -> None:
    for scale, count in ((2, 2), (3, 1)):
        for k in range(count):
            save(tmp_path / f"x{scale}" / f"{k}.png", noise_image(12, 12))
    refused(lambda: build(val_block(tmp_path / "x{scale}")), "x2", "2 images", "x3", "has 1")


# Reported when an image is read ----------------------------------------------------------------


def test_corrupt_image_is_named(photos: Path) -> None:
    path = corrupt_file(photos / "1.png")
    dataset = build(train_block(photos))
    refused(lambda: dataset[1], str(path), "corrupt")
    path.unlink()
    refused(lambda: dataset[1], str(path), "No such file")


def test_corrupt_lmdb_entry_is_named(tmp_path: Path) -> None:
    from basicsr.utils.lmdb_util import LmdbMaker

    maker = LmdbMaker(str(tmp_path / "set.lmdb"))
    maker.put(b"no image", "bad", (60, 60, 3))
    maker.close()
    refused(lambda: build(train_block(tmp_path / "set.lmdb")), "set.lmdb/bad", "corrupt")


def test_skipped_images_are_counted_and_logged(photos: Path, lines: list[str]) -> None:
    corrupt_file(photos / "1.png")
    (photos / "2.png").write_bytes(b"not an image")
    dataset = build(train_block(photos, on_corrupt="skip"))
    lines.clear()
    paths = {dataset[k % 3]["gt_path"] for k in range(12)}
    assert paths == {str(photos / "0.png")}
    assert dataset.skipped == len(lines) >= 8
    assert re.search(r"\(1 so far in this process\): .*1\.png is corrupt", "\n".join(lines))


def test_skipping_needs_one_intact_image(photos: Path) -> None:
    for path in photos.iterdir():
        corrupt_file(path)
    dataset = build(train_block(photos, on_corrupt="skip"))
    refused(lambda: dataset[0], "all images are corrupt", "--check")


def test_decompression_bomb() -> None:
    content = cv2.imencode(".png", np.zeros((20_000, 20_000), np.uint8))[1].tobytes()
    refused(lambda: decode(content, "bomb.png"), "bomb.png", "too large")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_mutated_files_decode_or_raise_one_line(suffix: str) -> None:
    rng = np.random.default_rng(5)
    whole = cv2.imencode(suffix, noise_image(24, 32))[1].tobytes()
    for _ in range(60):
        content = bytearray(whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.3 else whole)
        for position in rng.integers(len(content), size=rng.integers(1, 5)):
            content[position] = rng.integers(256)
        try:
            image = decode(bytes(content), f"mutated{suffix}")
        except LIIFError as error:
            assert "\n" not in str(error) and f"mutated{suffix}" in str(error)
        else:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
