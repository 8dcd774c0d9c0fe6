"""How ground truth and low resolution are paired: sizes, file names, meta files and subfolders."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from datafiles import build, make_lmdb, noise_image, paired_block, paired_train_block, refused, save, val_block

from liif_basicsr.data.decode import to_image_tensor
from liif_basicsr.data.prepare.storing import Settings, open_any, store
from liif_basicsr.data.source import open_source


def make_pair(folder: Path, gt_size: tuple[int, int], lq_size: tuple[int, int]) -> tuple[Path, Path]:
    save(folder / "gt" / "a.png", noise_image(*gt_size))
    save(folder / "lq" / "a.png", noise_image(*lq_size, seed=1))
    return folder / "gt", folder / "lq"


# Sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [paired_block, paired_train_block])
@pytest.mark.parametrize(
    ("gt_size", "scale"),
    [((80, 80), 2), ((42, 40), 2), ((40, 42), 2), ((63, 60), 3), ((60, 63), 3)],
    ids=["half the scale", "one row of x2", "one column of x2", "one row of x3", "one column of x3"],
)
def test_gt_larger_by_a_pixel_of_lq_is_refused(tmp_path: Path, block, gt_size: tuple[int, int], scale: int) -> None:
    roots = make_pair(tmp_path, gt_size, (20, 20))
    refused(
        lambda: build(block(*roots, scales=[scale])),
        "datasets: Photos", str(roots[0] / "a.png"), f"{gt_size[0]}x{gt_size[1]}", "larger than",
        f"{20 * scale}x{20 * scale}", str(roots[1] / "a.png"), f"times {scale}",
    )  # fmt: skip


@pytest.mark.parametrize("gt_size", [(60, 60), (62, 61), (61, 62)])
def test_gt_larger_by_less_than_a_pixel_of_lq_is_cropped(tmp_path: Path, gt_size: tuple[int, int]) -> None:
    roots = make_pair(tmp_path, gt_size, (20, 20))
    item = build(paired_block(*roots, scales=[3]))[0]
    assert torch.equal(item["gt"], to_image_tensor(noise_image(*gt_size)[:60, :60]))
    build(paired_train_block(*roots, scales=[3]))


@pytest.mark.parametrize("scale", [2.5, [2, 2.5]])
def test_lq_rounded_down_is_accepted_at_any_scale(tmp_path: Path, scale) -> None:
    sy, sx = scale if isinstance(scale, list) else (scale, scale)
    for height in range(20, 31):
        roots = make_pair(tmp_path / str(height), (height, height), (int(height / sy), int(height / sx)))
        build(paired_block(*roots, scales=[scale]))


# Names --------------------------------------------------------------------------------------------------------


def make_jpeg_pairs(folder: Path) -> tuple[Path, Path]:
    for k in range(2):
        save(folder / "gt" / f"{k}.png", noise_image(40, 40))
        save(folder / "lq" / f"{k}x2.jpg", noise_image(20, 20))
    return folder / "gt", folder / "lq"


def test_filename_tmpl_may_name_another_suffix(tmp_path: Path) -> None:
    roots = make_jpeg_pairs(tmp_path)
    dataset = build(paired_block(*roots, scales=[2], filename_tmpl="{}x{scale}.jpg"))
    assert [Path(item["lq_path"]).name for item in dataset] == ["0x2.jpg", "1x2.jpg"]


def test_another_suffix_is_suggested(tmp_path: Path) -> None:
    roots = make_jpeg_pairs(tmp_path)
    refused(
        lambda: build(paired_block(*roots, scales=[2], filename_tmpl="{}x{scale}")),
        str(roots[1]), "has no 0x2.png, the low-resolution file of 0.png", "set filename_tmpl: '{}x2.jpg'",
    )  # fmt: skip


# Meta files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["disk", "lmdb"])
@pytest.mark.parametrize(
    "text",
    [
        "\ufeffb.png (30,40,3)\na.png (20,24,3)\n",
        "# a comment\nb.png best of all\n\na.png # (not so good)\n",
        "b.png (30,40,3) 1 # sharp\r\na.png\r\n",
    ],
    ids=["byte order mark", "comments", "trailing comments"],
)
def test_meta_files_as_basicsr_reads_them(tmp_path: Path, kind: str, text: str) -> None:
    images = {"a": noise_image(20, 24), "b": noise_image(30, 40)}
    for name, image in images.items():
        save(tmp_path / "photos" / f"{name}.png", image)
    root = make_lmdb(tmp_path / "set.lmdb", images) if kind == "lmdb" else tmp_path / "photos"
    meta = tmp_path / "meta.txt"
    meta.write_bytes(text.encode())
    dataset = build(val_block(root, scales=[2], meta_info_file=str(meta)))
    assert [Path(item["gt_path"]).stem for item in dataset] == ["b", "a"]


def test_meta_files_may_name_files_with_spaces(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "my cat.png", noise_image(20, 24))
    for line in ("my cat.png (20,24,3)", "my cat.png"):
        (tmp_path / "meta.txt").write_text(line)
        source = open_source(str(tmp_path / "photos"), "disk", str(tmp_path / "meta.txt"))
        assert source.names == ["my cat.png"]


@pytest.mark.parametrize("flat", [True, False], ids=["lq in one folder", "lq in subfolders"])
def test_meta_files_may_name_subfolders(tmp_path: Path, flat: bool) -> None:
    for k, name in enumerate(("city/0.png", "sea/1.png")):
        save(tmp_path / "gt" / name, noise_image(40, 40, seed=k))
        save(tmp_path / "lq" / (Path(name).name if flat else name), noise_image(20, 20, seed=5 + k))
    if flat:
        save(tmp_path / "gt" / "unused.png", noise_image(4, 4))
        save(tmp_path / "lq" / "unused.png", noise_image(2, 2))
    (tmp_path / "meta.txt").write_text("sea/1.png (40,40,3)\ncity/0.png (40,40,3)\n")
    meta = str(tmp_path / "meta.txt")
    dataset = build(paired_block(tmp_path / "gt", tmp_path / "lq", scales=[2], meta_info_file=meta))
    for k, item in zip((1, 0), dataset, strict=True):
        assert torch.equal(item["gt"], to_image_tensor(noise_image(40, 40, seed=k)))
        assert torch.equal(item["lq"], to_image_tensor(noise_image(20, 20, seed=5 + k)))
    (tmp_path / "meta.txt").write_text("sea/0.png (40,40,3)\n")
    refused(lambda: build(val_block(tmp_path / "gt", meta_info_file=meta)), "sea/0.png", str(tmp_path / "gt"))


@pytest.mark.parametrize("text", ["", "\n# a.png\n"])
def test_meta_files_without_names(tmp_path: Path, text: str) -> None:
    save(tmp_path / "photos" / "a.png", noise_image(20, 24))
    meta = tmp_path / "meta.txt"
    meta.write_text(text)
    refused(lambda: build(val_block(tmp_path / "photos", meta_info_file=str(meta))), f"{meta} lists no images")


@pytest.mark.parametrize("size", [(24, 20), (10, 10)])
@pytest.mark.parametrize("kind", ["lmdb", "pixels"])
def test_sizes_that_differ_from_the_sources(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    root = make_lmdb(tmp_path / "set.lmdb", {"a": noise_image(20, 24)})
    if kind == "pixels":
        store(open_any(root), root := tmp_path / "set.pixels", Settings(pixels=True))
    meta = tmp_path / "meta.txt"
    meta.write_text("a.png ({},{},3)\n".format(*size))
    message = f"says that a is {size}, but in {root} it is (20, 24)"
    refused(lambda: open_source(str(root), kind, str(meta)), str(meta), message)


# Folders ------------------------------------------------------------------------------------------------------


def test_files_of_macos_and_hidden_files_are_ignored(tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise_image(20, 24))
    for name in ("._a.png", ".hidden.png", ".DS_Store"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7 metadata")
    assert open_source(str(tmp_path), "disk").names == ["a.png"]


def test_photographs_that_are_not_read_are_logged(tmp_path: Path, lines: list[str]) -> None:
    save(tmp_path / "a.png", noise_image(20, 24))
    assert open_source(str(tmp_path), "disk").names == ["a.png"] and not lines
    for name in ("b.HEIC", "c.avif"):
        (tmp_path / name).write_bytes(b"")
    assert open_source(str(tmp_path), "disk").names == ["a.png"]
    assert len(lines) == 1 and "2 AVIF or HEIC files, such as b.HEIC, are not used" in lines[0]


@pytest.mark.parametrize("suffix", [".jpe", ".jfif", ".JPG", ".TIFF"])
def test_less_common_suffixes(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "a.png", np.zeros((20, 24, 3), np.uint8)).rename(tmp_path / f"a{suffix}")
    assert np.array_equal(open_source(str(tmp_path), "disk").read(0), np.zeros((20, 24, 3), np.uint8))
