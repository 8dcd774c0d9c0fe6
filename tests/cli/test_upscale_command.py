"""`python -m liif_basicsr upscale`: each image is written completely, or reported with the reason."""
from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import NETWORK, image, model, ramp, upscale
from PIL import Image

import liif_basicsr
from liif_basicsr.__main__ import main
from liif_basicsr.archs import build_network
from liif_basicsr.cli._files import show_time
from liif_basicsr.hub import checkpoint
from liif_basicsr.rendering import memory

__all__ = ["model", "upscale"]


def size(path) -> tuple[int, int]:
    with Image.open(path) as made:
        made.load()
        return made.size


def test_file_equals_the_output_in_python(upscale, model):
    image("RGB").save("in.png")
    assert upscale("in.png", "new/out.png", "--scale", "3.7") == 0
    expected = liif_basicsr.upscale(image("RGB"), scale=3.7, model=model, precision="float32")
    assert np.array_equal(np.asarray(Image.open("new/out.png")), np.asarray(expected))


@pytest.mark.parametrize("flags, method", [
    ([], "MODEL"),
    (["--precision", "float32"], "MODEL (float32)"),
    (["--strength", "0.5"], "MODEL (strength 0.5)"),
    (["--strength", "0.5", "--precision", "float32"], "MODEL (strength 0.5, float32)"),
    (["--method", "nearest"], "nearest"),
])  # fmt: skip
def test_one_line_names_output_size_model_and_time(model, tmp_path, monkeypatch, capsys, flags, method):
    monkeypatch.chdir(tmp_path)
    image("RGB").save("in.png")
    chosen = [] if "--method" in flags else ["--model", str(model), "--device", "cpu"]
    assert main(["upscale", "in.png", "out.png", *chosen, *flags]) == 0
    said = capsys.readouterr().out.replace(str(model), "MODEL")
    assert re.fullmatch(rf"out\.png: 34x24, by {re.escape(method)} in \d+\.\d s\n", said)


def test_long_durations_are_in_minutes():
    assert [show_time(seconds) for seconds in (0.04, 59.94, 60, 4520)] == ["0.0 s", "59.9 s", "1.0 min", "75.3 min"]


@pytest.mark.parametrize("flags, wanted", [
    (["--scale", "2x3.5"], (60, 24)), (["--size", "40x30"], (40, 30)),
    (["--width", "34"], (34, 24)), (["--height", "24"], (34, 24)), (["--long-edge", "51"], (51, 36)),
    (["--scale", "2", "--self-ensemble"], (34, 24)), (["--scale", "2", "--precision", "bfloat16"], (34, 24)),
])  # fmt: skip
def test_flags_set_size_and_quality(upscale, flags, wanted):
    image("RGB").save("in.png")
    assert upscale("in.png", "out.png", *flags) == 0
    assert size("out.png") == wanted


def test_tile_wrap(upscale, model):
    image("RGB").save("in.png")
    assert upscale("in.png", "out.png", "--tile-wrap", "x") == 0
    expected = liif_basicsr.upscale(image("RGB"), tile_wrap="x", model=model, precision="float32")
    assert np.array_equal(np.asarray(Image.open("out.png")), np.asarray(expected))


def test_bad_file_in_a_folder_does_not_stop_the_others(upscale, capsys):
    Path("in").mkdir()
    for name in ("a.png", "c.JPG", "d.webp", "e.tif", "f.bmp"):
        image("RGB").save(Path("in", name))
    Path("in", "b.png").write_bytes(b"not an image")
    Path("in", "notes.txt").write_text("not an image, and passed over")
    assert upscale("in", "out", "--scale", "2") == 1
    assert sorted(os.listdir("out")) == ["a.png", "c.JPG", "d.webp", "e.tif", "f.bmp"]
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 5
    assert "1 of 6 images failed" in err and err.splitlines()[-1].strip().startswith("in/b.png: is not a PNG")


def test_pattern_keeps_subfolders(upscale):
    for name in ("x/a.png", "x/y/a.png", "x/y/b.jpg"):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        image("L").save(Path("in", name))
    assert upscale("in/**/*.png", "out", "--scale", "2") == 0
    assert sorted(str(p) for p in Path("out").rglob("*.*")) == ["out/x/a.png", "out/x/y/a.png"]


def test_several_inputs_go_into_a_folder(upscale):
    for name in ("a.png", "b.png"):
        image("L").save(name)
    assert upscale("a.png", "b.png", "out", "--scale", "2") == 0
    assert sorted(os.listdir("out")) == ["a.png", "b.png"]


def test_several_images_need_an_output_that_is_not_named_like_an_image(upscale, capsys):
    os.mkdir("in")
    for name in ("in/a.png", "in/b.png"):
        image("L").save(name)
    for words in (["in"], ["in/*.png"], ["in/a.png", "in/b.png"]):
        assert upscale(*words, "out.jpg", "--scale", "2") == 2
        assert "out.jpg: is a file, or is named like one; several images need a folder" in capsys.readouterr().err
    assert os.listdir() == ["in"]


def test_opaque_alpha_is_dropped_for_formats_without_alpha(upscale, capsys):
    pixels = ramp(12, 17, 4)
    Image.fromarray(pixels).save("clear.png")
    pixels[..., 3] = 255
    Image.fromarray(pixels).save("opaque.png")
    assert upscale("opaque.png", "out.jpg", "--scale", "2") == 0 and size("out.jpg") == (34, 24)
    assert upscale("opaque.png", "out.png", "--scale", "2") == 0
    with Image.open("out.png") as made:
        assert made.mode == "RGBA"
    assert upscale("clear.png", "other.jpg", "--scale", "2") == 1
    assert "has transparent pixels, which JPEG does not support; write a .png" in capsys.readouterr().err


def test_slow_precision_is_reported(upscale, monkeypatch, capsys):
    image("L").save("in.png")
    for fast, lines in ((True, 0), (False, 1)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast, raising=False)
        assert upscale("in.png", "out.png", "--scale", "2", "--precision", "bfloat16", "--overwrite") == 0
        assert capsys.readouterr().err.count("no instructions for it") == lines


@pytest.mark.parametrize("name", ["with space.png", "ünï 画.png", "-x.png", "[1].png", "a\nb.png", b"\xff\xfe.png"])
def test_odd_names_are_kept_and_printed_on_one_line(upscale, tmp_path, name, capsys):
    path = Path(os.fsdecode(name))
    image("L").save(tmp_path / path)
    assert upscale("--scale", "2", "--", str(path), "out") == 0
    assert size(Path("out", path)) == (34, 24)
    assert capsys.readouterr().out.count("\n") == 1


def test_warning_of_the_network_is_one_line(upscale, monkeypatch, capsys):
    encoder = {"type": "RCAN", "num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2}
    network = {**NETWORK, "encoder": encoder}
    checkpoint.save("rcan.pth", {"params": build_network(network).state_dict(), "network_g": network})
    image("L").save("in.png")
    monkeypatch.setattr(memory, "WHOLE_PIXELS", 100)
    assert upscale("in.png", "out.png", "--scale", "2", "--model", "rcan.pth") == 0
    said = capsys.readouterr().err
    assert said.startswith("out.png: the encoder has no receptive_radius") and said.count("\n") == 1


def test_existing_output_is_kept_without_the_flag(upscale, capsys):
    image("L").save("in.png")
    Path("out.png").write_text("mine")
    assert upscale("in.png", "out.png", "--scale", "2") == 1
    assert Path("out.png").read_text() == "mine" and "--overwrite" in capsys.readouterr().err
    assert upscale("in.png", "out.png", "--scale", "2", "--overwrite") == 0
    assert size("out.png") == (34, 24)


def test_only_images_that_do_not_exist_are_made_on_request(upscale, capsys):
    os.mkdir("in")
    for name in ("in/a.png", "in/b.png", "in/c.png"):
        image("L").save(name)
    os.mkdir("out")
    Path("out/b.png").write_text("mine")
    assert upscale("in", "out", "--scale", "2", "--skip-existing") == 0
    said = capsys.readouterr().out
    assert said.startswith("1 of 3 images skipped: their outputs already exist\n") and size("out/c.png") == (34, 24)
    assert Path("out/b.png").read_text() == "mine"
    assert upscale("in", "out", "--scale", "2", "--skip-existing") == 0
    assert capsys.readouterr().out == "3 of 3 images skipped: their outputs already exist\n"
    assert upscale("in", "in", "--scale", "2", "--skip-existing") == 1  # the outputs would be the inputs themselves
    assert upscale("in", "out", "--scale", "2", "--skip-existing", "--overwrite") == 2
    assert "--overwrite: not allowed with argument --skip-existing" in capsys.readouterr().err


def test_image_never_replaces_itself(upscale, capsys):
    image("L").save("in.png")
    os.link("in.png", "same.png")
    before = Path("in.png").read_bytes()
    assert upscale("in.png", ".", "--scale", "2", "--overwrite") == 1
    assert upscale("in.png", "same.png", "--scale", "2", "--overwrite") == 1
    assert Path("in.png").read_bytes() == before and "its own" in capsys.readouterr().err


def test_corrupt_image_leaves_the_older_output(upscale):
    image("RGB", 200, 200).save("in.jpg")
    Path("in.jpg").write_bytes(Path("in.jpg").read_bytes()[:1500])
    Path("out.png").write_text("mine")
    assert upscale("in.jpg", "out.png", "--scale", "2", "--overwrite") == 1
    assert Path("out.png").read_text() == "mine"


@pytest.mark.parametrize("words, says", [
    (["none.png", "out.png", "--scale", "2"], "none.png: no such file"),
    (["*.gif", "out", "--scale", "2"], "*.gif: contains no images"),
    (["empty", "out", "--scale", "2"], "empty: contains no images"),
    (["in.png", "out.gif", "--scale", "2"], "out.gif: has the suffix '.gif', which cannot be written; use one of"),
    (["in.png", "in2.png", "file.txt", "--scale", "2"], "file.txt: is a file"),
    (["in.png", "file.txt/out.png", "--scale", "2"], "file.txt: cannot be created"),
    (["in.png", "twin/in.png", "out", "--scale", "2"], "would have the same output"),
    (["in.png", "out.png", "--scale", "two"], "--scale two: expected a number"),
    (["in.png", "out.png", "--size", "700"], "--size 700: expected WxH"),
    (["in.png", "out.png", "--size", "7.5x8"], "--size 7.5x8: expected WxH in pixels"),
    (["in.png", "out.png", "--long-edge", "1e3"], "--long-edge 1e3: expected a number of pixels"),
    (["in.png", "out.png", "--scale", "2", "--device", "cuda:77"], "cuda:77"),
    (["in.png", "out.png", "--scale", "2", "--model", "none.pth"], "none.pth"),
])  # fmt: skip
def test_invalid_arguments_are_named_before_any_work(upscale, capsys, words, says):
    for folder in ("empty", "twin"):
        Path(folder).mkdir()
    for name in ("in.png", "in2.png", "twin/in.png"):
        image("L").save(name)
    Path("file.txt").touch()
    assert upscale(*words) == 2
    out, err = capsys.readouterr()
    assert says in err and err.count("\n") == 1 and not out


def test_outputs_too_large_are_refused_before_work(upscale, capsys):
    image("RGB", 3, 3).save("in.png")
    for name, words in {
        "out.jpg": ["--size", "70000x3"], "out.webp": ["--size", "3x20000"], "out.bmp": ["--size", "90000x90000"],
        "wide.jpg": ["--size", "65000x65000", "--yes"],
    }.items():  # fmt: skip
        if name == "wide.jpg" and liif_basicsr.rendering.memory.available() > 2 * 3 * 65000**2:
            continue
        assert upscale("in.png", name, *words) == 1
        assert not Path(name).exists() and capsys.readouterr().err.count("\n") == 1
