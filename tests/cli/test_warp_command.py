"""`python -m liif_basicsr warp` equals the Python functions; errors are one line."""
from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from image_files import image, model, ramp
from PIL import Image

import liif_basicsr
from liif_basicsr.__main__ import main
from liif_basicsr.rendering.homographies import scaling

__all__ = ["model"]

QUAD = ["2,1", "14,2", "15,10", "1,9"]


@pytest.fixture
def warp(model, tmp_path, monkeypatch):
    """Run the command on the CPU in float32, in tmp_path, which contains in.png."""
    monkeypatch.chdir(tmp_path)
    image("RGB").save("in.png")

    def run(*words):
        return main(["warp", *words, "--model", str(model), "--device", "cpu", "--precision", "float32"])

    return run


def pixels(path) -> np.ndarray:
    with Image.open(path) as made:
        return np.asarray(made)


@pytest.mark.parametrize("flags, how", [
    (["--rotate", "20", "--scale", "2", "--fill", "9,8,7"], {"scale": 2, "fill": (9, 8, 7)}),
    (["--rotate", "-110.5", "--no-expand"], {"expand": False}),
])  # fmt: skip
def test_rotation_equals_python(warp, model, flags, how):
    assert warp("in.png", "new/out.png", *flags) == 0
    expected = liif_basicsr.rotate(image("RGB"), float(flags[1]), model=model, precision="float32", **how)
    assert np.array_equal(pixels("new/out.png"), np.asarray(expected))


def test_one_line_names_output_size_model_and_time(warp, model, capsys):
    assert warp("in.png", "out.png", "--rotate", "20", "--no-expand") == 0
    said = capsys.readouterr().out
    assert re.fullmatch(rf"out\.png: 17x12, by {re.escape(str(model))} \(float32\) in \d+\.\d s\n", said)


@pytest.mark.parametrize("text", [
    json.dumps([[1.5, 0.2, 3], [0, 2, -1], [0.01, 0, 1]]), "1.5 0.2 3\n0 2 -1\n0.01 0 1\n", "1.5,0.2,3,0,2,-1,0.01,0,1",
    "1.5 0.2 3; 0 2 -1; 0.01 0 1", "1.5;0.2;3;\n0;2;-1;\n\n.01;0;1;\n",
])  # fmt: skip
def test_matrix_equals_python_in_any_notation(warp, model, text):
    matrix = np.array([[1.5, 0.2, 3], [0, 2, -1], [0.01, 0, 1]])
    Path("m.txt").write_text(text)
    assert warp("in.png", "out.png", "--matrix", "m.txt", "--size", "30x20") == 0
    expected = liif_basicsr.warp(image("RGB"), matrix, (20, 30), model=model, precision="float32")
    assert np.array_equal(pixels("out.png"), np.asarray(expected))
    assert warp("in.png", "big.png", "--matrix", "m.txt", "--scale", "2") == 0
    expected = liif_basicsr.warp(image("RGB"), scaling((2, 2)) @ matrix, (24, 34), model=model, precision="float32")
    assert np.array_equal(pixels("big.png"), np.asarray(expected))


@pytest.mark.parametrize("flags, size", [
    ([], (9, 15)), (["--scale", "2x3"], (18, 45)), (["--size", "20x30"], (30, 20)),
])  # fmt: skip
def test_quad_becomes_a_rectangle(warp, flags, size):
    assert warp("in.png", "out.png", "--quad", *QUAD, *flags) == 0
    assert pixels("out.png").shape == (*size, 3)


def test_corner_may_lie_beyond_the_image(warp):
    assert warp("in.png", "out.png", "--quad", "-2,1", "14,2", "15,10", "-.5,9") == 0
    assert pixels("out.png").shape == (9, 17, 3)


def test_quad_of_the_whole_image_is_the_image_enlarged(warp, model):
    assert warp("in.png", "out.png", "--quad", "0,0", "16,0", "16,11", "0,11", "--scale", "2") == 0
    expected = liif_basicsr.upscale(image("RGB"), scale=2, model=model, precision="float32")
    assert np.array_equal(pixels("out.png"), np.asarray(expected))


@pytest.mark.parametrize("name", ["out.png", "out.tif", "out.jpg", "out.webp", "out.bmp"])
def test_every_format_is_written(warp, name):
    assert warp("in.png", name, "--rotate", "7") == 0
    assert pixels(name).shape[2] == 3


def test_sixteen_bits_and_alpha_are_kept(warp):
    Image.fromarray(ramp(12, 17, 4)).save("alpha.png")
    Image.fromarray(ramp(12, 17, 1, np.uint16)[..., 0]).save("deep.png")
    assert warp("alpha.png", "a.png", "--rotate", "30") == warp("deep.png", "d.png", "--rotate", "30") == 0
    assert pixels("a.png").shape[2] == 4 and pixels("a.png")[0, 0, 3] == 0
    assert pixels("d.png").dtype == np.uint16


@pytest.mark.parametrize("words, says", [
    (["in.png", "out.png", "--quad", "0,0", "9,0", "0,9", "9,9"], "cross"),
    (["in.png", "out.png", "--quad", "0,0", "9,0", "5,0", "0,9"], "line"),
    (["in.png", "out.png", "--quad", "0,0", "9;0", "9,9", "0,9"], "X,Y"),
    (["in.png", "out.png", "--quad", "0,0", "nan,0", "9,9", "0,9"], "finite"),
    (["in.png", "out.png", "--matrix", "singular.txt"], "singular.txt: matrix: is singular"),
    (["in.png", "out.png", "--matrix", "horizon.txt"], "horizon"),
    (["in.png", "out.png", "--matrix", "words.txt"], "words.txt: expected"),
    (["in.png", "out.png", "--matrix", "none.txt"], "none.txt: cannot be read"),
    (["in.png", "out.png", "--matrix", "five.txt"], "five.txt: matrix: expected 3x3 or 2x3"),
    (["in.png", "out.png", "--matrix", "tall.txt"], "tall.txt: matrix: expected 3x3 or 2x3 numbers, got shape (3, 2)"),
    (["in.png", "out.png", "--matrix", "tall.json"], "tall.json: matrix: expected 3x3 or 2x3"),
    (["in.png", "out.png", "--rotate", "nan"], "degrees"),
    (["in.png", "out.png", "--rotate", "5", "--scale", "0"], "scale"),
    (["in.png", "out.png", "--rotate", "5", "--size", "9x9"], "--size"),
    (["in.png", "out.png", "--quad", *QUAD, "--size", "9"], "--size"),
    (["in.png", "out.png", "--quad", *QUAD, "--size", "9x9", "--scale", "2"], "one of them"),
    (["in.png", "out.jpg", "--quad", *QUAD, "--size", "65000x65000", "--yes"], "fit into memory"),
    (["in.png", "out.webp", "--quad", *QUAD, "--size", "20000x9"], "too large for WebP"),
    (["in.png", "out.png", "--quad", *QUAD, "--no-expand"], "--no-expand"),
    (["in.png", "out.png", "--rotate", "5", "--fill", "red"], "--fill"),
    (["in.png", "out.png", "--rotate", "5", "--fill", "1,2"], "fill"),
    (["in.png", "out.xyz", "--rotate", "5"], "suffix"),
    (["no.png", "out.png", "--rotate", "5"], "no.png"),
    (["words.txt", "out.png", "--rotate", "5"], "words.txt: is not a PNG"),
    (["in.png", "in.png", "--rotate", "5", "--overwrite"], "its own"),
    (["in.png", ".", "--rotate", "5"], "folder"),
])  # fmt: skip
def test_bad_input_is_one_line_and_writes_nothing(warp, capsys, words, says):
    Path("singular.txt").write_text("1 2 0 2 4 0")
    Path("horizon.txt").write_text("1 0 0 0 1 0 0 0.2 1")
    Path("words.txt").write_text("no numbers here")
    Path("five.txt").write_text("1 2 3 4 5")
    Path("tall.txt").write_text("1 0\n0 1\n5 7\n")
    Path("tall.json").write_text("[[1, 0], [0, 1], [5, 7]]")
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    assert warp(*words) in (1, 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and says in said
    assert {name: Path(name).read_bytes() for name in os.listdir()} == before


def test_output_that_exists_is_kept_without_the_flag(warp, capsys):
    Path("out.png").write_bytes(b"mine")
    assert warp("in.png", "out.png", "--rotate", "5") == 1
    assert Path("out.png").read_bytes() == b"mine" and "--overwrite" in capsys.readouterr().err
    assert warp("in.png", "out.png", "--rotate", "5", "--overwrite") == 0
    assert pixels("out.png").shape[2] == 3
