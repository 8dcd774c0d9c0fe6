"""Default outputs, skipped files, and limits of `upscale`."""
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from image_files import image, model, ramp, upscale
from PIL import Image, features

from liif_basicsr.__main__ import main
from liif_basicsr.cli import _files
from liif_basicsr.files import atomic_write
from liif_basicsr.hub import checkpoint
from liif_basicsr.images.upscale import Resampler

__all__ = ["model", "upscale"]


def files() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def size(path) -> tuple[int, int]:
    with Image.open(path) as made:
        return made.size


@pytest.mark.parametrize("flags, name", [
    ([], "photo_x2.jpg"), (["--scale", "3.5"], "photo_x3.5.jpg"), (["-s", "x3"], "photo_x3.jpg"),
    (["--size", "34x24"], "photo_34x24.jpg"), (["--width", "40"], "photo_w40.jpg"),
    (["--long-edge", "40"], "photo_40.jpg"),
])  # fmt: skip
def test_default_output_is_next_to_the_input(upscale, flags, name):
    os.mkdir("in")
    image("RGB").save("in/photo.jpg")
    assert upscale("in/photo.jpg", *flags) == 0
    assert files() == sorted(["in/photo.jpg", f"in/{name}"])


def test_default_output_of_a_folder(upscale):
    os.mkdir("in")
    image("RGB").save("in/a.png")
    assert upscale("in") == 0
    assert files() == ["in/a.png", "in_x2/a.png"]
    os.chdir("in")
    assert upscale(".", "--scale", "3") == 0
    assert Path("../in_x3/a.png").is_file()


def test_output_option(upscale):
    for name in ("a.png", "b.png"):
        image("L").save(name)
    assert upscale("a.png", "b.png", "-o", "out") == 0
    assert upscale("a.png", "--output", "new/c.png") == 0
    assert files() == ["a.png", "b.png", "new/c.png", "out/a.png", "out/b.png"]


@pytest.mark.parametrize("words, says", [
    (["*.png"], "*.png: a pattern needs an output folder; name it with -o"),
    (["a.png", "-"], "-: standard input and output are not supported"),
    (["/"], "/: an output next to it is not possible; name a folder with -o"),
    (["-", "b.png"], "-: standard input and output are not supported"),
    (["a.png", "b.png", "--size", "3x3", "--width", "4"], "--size and --width: use only one"),
    (["a.png", "b.png", "--height", "90", "--scale", "2"], "--height and --scale: use only one"),
    (["a.png", "-o", "out/b.png", "--model", "liif-phot"], "did you mean 'liif-photo'"),
    (["a.png", "-o", "out/b.png", "--strength", "1.5"], "strength: expected a number from 0 to 1, got 1.5"),
    (["a.png", "-o", "out/b.png", "--method", "nearst"], "--method: invalid choice"),
])  # fmt: skip
def test_unusable_outputs(upscale, capsys, words, says):
    image("L").save("a.png")
    assert upscale(*words) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1 and files() == ["a.png"]


def test_two_images_without_output_option_keep_the_second(upscale, capsys):
    for name in ("a.png", "b.png"):
        image("L").save(name)
    before = Path("b.png").read_bytes()
    assert upscale("a.png", "b.png") == 1
    assert "or pass --overwrite; to upscale both images, name a folder with -o" in capsys.readouterr().err
    assert Path("b.png").read_bytes() == before
    assert upscale("a.png", "-o", "b.png") == 1 and "to upscale both" not in capsys.readouterr().err


def test_existing_outputs_of_a_folder_can_be_skipped(upscale, capsys):
    os.makedirs("in")
    for name in ("in/a.png", "in/b.png"):
        image("L").save(name)
    assert upscale("in", "out") == 0 and upscale("in", "out") == 1
    assert "a.png already exists; choose another output, or pass --overwrite or --skip-ex" in capsys.readouterr().err


@pytest.mark.parametrize("pattern", ["in", "in/*"])
def test_earlier_outputs_in_a_folder_are_skipped(upscale, capsys, pattern):
    os.makedirs("in")
    outputs = ["a_x2.jpg", "a_x2x3.5.png", "a_1920x1080.png", "a_w50.png", "a_h5.png", "c_x2.png"]
    images = ["a.png", "c.PNG", "a_2.png", "a_xs.png", "b_x2.png", "ax2.png"]
    for name in (*outputs, *images):
        image("L").save(f"in/{name}")
    assert upscale(pattern, "-o", "out") == 0
    assert sorted(os.listdir("out")) == sorted(images)
    assert "skipped earlier outputs, going by their names: a_1920x1080.png, a_h5.png, a_w50.png, ...;" \
        in capsys.readouterr().err  # fmt: skip
    assert upscale("in/a_x2.jpg", "-o", "again.png") == 0


def test_everything_skipped_in_a_folder_is_counted(upscale, capsys):
    os.makedirs("in/sub")
    for name in ("in/a.png", "in/b.JFIF", "in/c.jpe"):
        image("L").save(name, "PNG" if name.endswith("png") else "JPEG")
    for name in ("in/._a.png", "in/notes.txt", "in/photo.cr2"):
        Path(name).write_bytes(b"x")
    assert upscale("in", "out") == 0
    assert sorted(os.listdir("out")) == ["a.png", "b.JFIF", "c.jpe"]
    err = capsys.readouterr().err
    assert err == "in: skipped 4 files or folders that are not images: notes.txt, photo.cr2, sub, ...\n"


def test_images_that_would_have_the_same_output_are_named_and_no_folder_is_made(upscale, capsys):
    os.mkdir("in")
    for name in ("in/a.gif", "in/a.png"):
        image("L").save(name)
    assert upscale("in", "out") == 2
    err = capsys.readouterr().err
    assert "in/a.png and in/a.gif would have the same output out/a.png; rename one of them" in err
    assert not Path("out").exists()


def test_output_folder_inside_the_input_is_not_upscaled_again(upscale):
    os.makedirs("in/sub")
    image("L").save("in/a.png")
    image("L").save("in/sub/b.png")
    for _ in range(2):
        assert upscale("in/**/*.png", "in/large", "--overwrite") == 0
        assert files() == ["in/a.png", "in/large/a.png", "in/large/sub/b.png", "in/sub/b.png"]
        assert upscale("in", "in/flat", "--overwrite") == 0
        assert sorted(os.listdir("in/flat")) == ["a.png"]
        for name in os.listdir("in/flat"):
            os.unlink(f"in/flat/{name}")


def test_larger_images_are_skipped_by_long_edge(upscale, capsys):
    os.mkdir("in")
    image("L").save("in/small.png")
    image("L", 60, 90).save("in/large.png")
    assert upscale("in", "out", "--long-edge", "50") == 0
    assert os.listdir("out") == ["small.png"] and size("out/small.png") == (50, 35)
    err = capsys.readouterr().err
    assert "in/large.png: skipped, the output of 50x33 pixels would be smaller than the image of 90x60" in err
    assert "1 of 2 images skipped: they are already larger than requested" in err
    assert upscale("in/large.png", "out/large.png", "--long-edge", "50") == 1
    for words in (["in", "out", "--skip-existing"], ["in/l*.png", "new"]):  # one image is left
        assert upscale(*words, "--long-edge", "50") == 0


def test_changed_aspect_ratio_is_a_warning(upscale, capsys):
    image("L", 20, 40).save("a.png")
    side, factor = "; pass only --width or only --height to keep the aspect ratio", "; pass one factor to keep"
    for flags, hint in (
        (["--size", "80x40"], ""), (["--size", "80x50"], side), (["--width", "80", "--height", "41"], side),
        (["--width", "81"], ""), (["--scale", "2x3"], factor), (["--scale", "2.03"], ""),
    ):  # fmt: skip
        assert upscale("a.png", "b.png", "--overwrite", *flags) == 0
        err = capsys.readouterr().err
        assert err.count("warning: stretched from 40x20 to ") == bool(hint) and hint in err


@pytest.mark.parametrize("flags", [["--size", "40x80"], ["--width", "42", "--height", "84"]])
def test_swapped_width_and_height(upscale, capsys, flags):
    image("L", 20, 40).save("a.png")
    assert upscale("a.png", "b.png", *flags) == 1 and not Path("b.png").exists()
    err = capsys.readouterr().err
    assert "seem to be swapped, because the image has 40x20 pixels; pass --size 8" in err
    scale = err.split("--scale ")[1].strip()
    assert upscale("a.png", "b.png", "--scale", scale) == 0 and size("b.png")[0] == int(flags[1].split("x")[0])


def test_huge_output_needs_yes(upscale, capsys, monkeypatch):
    monkeypatch.setattr(_files, "MAX_PIXELS", 1000)
    image("L").save("a.png")
    assert upscale("a.png", "b.png", "--scale", "3") == 1
    assert "51x36 pixels, 0 megapixels; pass --yes to" in capsys.readouterr().err and not Path("b.png").exists()
    assert upscale("a.png", "b.png", "--scale", "3", "--yes") == 0


def test_huge_input_is_allowed_by_yes(upscale, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    image("L").save("a.png")
    assert upscale("a.png", "b.png") == 1
    assert "pass --yes" in capsys.readouterr().err
    assert upscale("a.png", "b.png", "--yes") == 0


@pytest.mark.parametrize("suffix", [".gif", ".avif", ".heic"])
def test_formats_that_are_only_read(upscale, suffix):
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    elif suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow cannot read AVIF")
    os.mkdir("in")
    Image.fromarray(ramp(32, 48)).save(f"in/a{suffix}")
    assert main(["upscale", "in", "out", "--method", "bicubic"]) == 0 and size("out/a.png") == (96, 64)
    with Image.open("out/a.png") as made:
        difference = np.asarray(made.resize((48, 32)).convert("RGB")).astype(int) - ramp(32, 48)
    assert np.abs(difference).mean() < 12
    assert upscale(f"in/a{suffix}") == 0 and Path("in/a_x2.png").is_file()
    assert upscale(f"in/a{suffix}", f"b{suffix}") == 2


def test_animation_is_refused_by_name(upscale, capsys):
    frames = [image("L", 5, 5), image("L", 5, 5).rotate(90)]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    assert upscale("a.gif") == 1
    assert "a.gif: has 2 frames of an animation; save each frame as a separate file" in capsys.readouterr().err


def test_further_images_of_a_heic_file_are_reported(upscale, capsys):
    pytest.importorskip("pillow_heif").register_heif_opener()
    first = Image.fromarray(ramp(32, 48))
    first.save("a.heic", save_all=True, append_images=[first.rotate(180)])
    assert upscale("a.heic", "a.png") == 0
    assert capsys.readouterr().err == "a.heic: has 2 images, and only the primary one is used\n"


def test_raw_files_of_cameras_are_refused(upscale, capsys):
    image("RGB").save("a.tif")
    os.rename("a.tif", "a.NEF")  # like the thumbnail in a raw file
    assert upscale("a.NEF") == 1
    assert "a.NEF: is a camera's raw file, which is not supported; develop it" in capsys.readouterr().err
    assert files() == ["a.NEF"]


def test_heic_without_its_reader(upscale, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    Path("a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    assert upscale("a.heic") == 1
    says = "a.heic: is a HEIC image, which needs pillow-heif; run pip install 'liif_basicsr[heic]'"
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("method", ["nearest", "bicubic"])
def test_classical_method(upscale, method, capsys, tmp_path):
    image("RGBA").save("a.png")
    assert main(["upscale", "a.png", "--method", method, "--scale", "2"]) == 0
    assert size("a_x2.png") == (34, 24) and method in capsys.readouterr().out
    assert upscale("a.png", "--method", method) == 2
    assert "not allowed with argument" in capsys.readouterr().err
    for words in (["--device", "cuda:9"], ["--precision", "float32"], ["--self-ensemble"], ["--strength", "0.5"]):
        assert main(["upscale", "a.png", "b.png", "--method", method, *words]) == 2
        assert words[0][2:6] in (err := capsys.readouterr().err) and f"has no effect with method {method};" in err
    assert not Path("b.png").exists()


def test_network_of_a_project_is_imported(upscale, capsys, monkeypatch):
    import sys

    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("my_networks.py").write_text("import pathlib; pathlib.Path('imported').touch()\n")
    Path("broken_networks.py").write_text("1 / 0\n")
    image("L").save("a.png")
    assert upscale("a.png", "--import", "my_networks") == 0 and Path("imported").exists()
    assert upscale("a.png", "--import", "broken_networks") == 2
    assert "--import broken_networks: cannot be imported (ZeroDivisionError" in capsys.readouterr().err


def test_unknown_network_of_a_file_hints_at_import(upscale, capsys):
    checkpoint.save("my.pth", {"params": {}, "network_g": {"type": "MyNet"}})
    image("L").save("a.png")
    assert main(["upscale", "a.png", "--model", "my.pth"]) == 2
    err = capsys.readouterr().err
    assert "my.pth: network_g: type: unknown network 'MyNet'; if your project registers it" in err
    assert "import its module first (on the command line with `--import MODULE`)" in err and err.count("\n") == 1


def test_outputs_have_the_permissions_of_ordinary_files(tmp_path):
    (tmp_path / "ordinary").touch()
    with atomic_write(tmp_path / "a") as file:
        file.write(b"x")
    assert (tmp_path / "a").read_bytes() == b"x" and sorted(os.listdir(tmp_path)) == ["a", "ordinary"]
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_output_that_appears_meanwhile_is_kept(upscale, capsys, monkeypatch):
    image("L").save("a.png")
    strips = Resampler.strips

    def other_program(*args):
        Path("b.png").write_text("other")
        return strips(*args)

    monkeypatch.setattr(Resampler, "strips", other_program)
    words = ["upscale", "a.png", "b.png", "--method", "nearest"]
    assert main(words) == 1 and files() == ["a.png", "b.png"] and Path("b.png").read_text() == "other"
    assert "a.png: b.png: was made by another program in the meantime; choose" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0 and size("b.png") == (34, 24)
