"""The command line as a whole: commands, help, typos, completion, and consoles that lack characters."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from liif_basicsr import cli
from liif_basicsr.__main__ import main
from liif_basicsr.cli._arguments import PRECISIONS
from liif_basicsr.devices import PRECISIONS as DEVICE_PRECISIONS

SLOW = ("torch", "numpy", "PIL", "cv2", "pydantic", "basicsr")


def run_code(code: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=env or None)


HELP_AND_TYPOS = [
    ["--help"], ["upscale", "--help"], ["warp", "--help"], ["upscale", "a.png", "--scale", "two"], ["upscal"],
    ["models"], ["upscale", "a.png", "--sclae", "2"], ["upscale", "none.png"],
    ["warp", "none.png", "a.png", "--rotate", "1"], ["view", "none.png"], ["upscale"], ["upscale", "a.png", "--size"],
    ["upscale", __file__, "--model", "liif-phot"], ["upscale", __file__, "--strength", "2"],
    ["upscale", __file__, "-o", "a.gif"], ["view", __file__, "--model", "liif-phot"],
    ["warp", __file__, "a.png", "--rotate", "1", "--model", "liif-phot"],
    ["warp", __file__, "a.png", "--rotate", "1", "--bands", "0"], ["warp", __file__, "a.png", "--fill", "red"],
    ["warp", __file__, "a.png", "--quad", "1,2", "3,4", "5,6", "7"], ["export", "a.onnx", "--model", "liif-phot"],
    ["train"], ["train", "--help"], ["test", "-opt", "none.yml"],
]  # fmt: skip


def test_help_and_typos_need_no_slow_import():
    code = f"""
import sys
from liif_basicsr.__main__ import main
for words in {HELP_AND_TYPOS}:
    try:
        main(words)
    except SystemExit:
        pass
    found = [name for name in {SLOW} if name in sys.modules]
    assert not found, (words, found)
"""
    done = run_code(code)
    assert done.returncode == 0, done.stderr


def test_help_is_fast():
    before = os.times()
    subprocess.run([sys.executable, "-m", "liif_basicsr", "upscale", "--help"], capture_output=True, check=True)
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 0.3


def test_commands_are_listed_in_the_order_of_use(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    names = ("upscale", "view", "warp", "models", "export", "prepare", "train")
    places = [text.index(f"\n    {name} ") for name in names]
    assert places == sorted(places)


def test_new_command_is_one_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "say_hello.py").write_text(
        '"""Say hello."""\nORDER = 0\n\n'
        'def add_arguments(parser):\n    parser.add_argument("--name", default="you")\n\n'
        'def run(args):\n    print("hello", args.name)\n    return 0\n'
    )
    monkeypatch.setattr(cli, "__path__", [str(tmp_path), *cli.__path__])
    assert main(["say-hello", "--name", "me"]) == 0
    assert capsys.readouterr().out == "hello me\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert text.index("say-hello           Say hello") < text.index("upscale")


@pytest.mark.parametrize("words, says", [
    (["upscal", "a.png"], "unknown command 'upscal'; did you mean 'upscale'?"),
    (["instal-basicsr"], "did you mean 'install-basicsr'?"),
    (["upscale", "a.png", "--sclae", "2"], "upscale: unknown option --sclae; did you mean '--scale'?"),
    (["warp", "a.png", "b.png", "--rotate", "5", "--modl=x"], "warp: unknown option --modl=x; did you mean '--model'?"),
])  # fmt: skip
def test_typos_get_suggestions(capsys, words, says):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


@pytest.mark.parametrize("words, says", [
    ([], "error: the following arguments are required: COMMAND; see `liif-basicsr --help`"),
    (["models", "a", "b"], "models: unexpected argument 'b'"),
    (["upscale"], "upscale: the following arguments are required: INPUT; see `liif-basicsr upscale --help`"),
    (["upscale", "a.png", "--scale"], "upscale: argument -s/--scale: expected one argument"),
    (["upscale", "a.png", "--method", "nearst"], "upscale: argument --method: invalid choice: 'nearst'"),
    (["warp", "a.png", "b.png", "--rotate", "x"], "warp: argument --rotate: invalid float value: 'x'"),
    (["prepare", "folder", "a", "b", "--crop", "0"], "argument --crop: expected an integer of at least 1, got '0'"),
    (["prepare", "teach", "a", "b", "--plain", "2"], "argument --plain: expected a number from 0 to 1, got '2'"),
    (["upscale", ""], "the name of an input or of the output is empty"),
    (["upscale", __file__, "-o", ""], "the name of an input or of the output is empty"),
])  # fmt: skip
def test_invalid_arguments_are_one_line(capsys, words, says):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_missing_packages_are_one_line():
    code = "import sys; sys.modules['torch'] = None\nfrom liif_basicsr.__main__ import main\n"
    done = run_code(code + f"sys.exit(main(['upscale', {__file__!r}]))")
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1
    assert b"torch is not installed in " in done.stderr and b"activate the environment" in done.stderr


def test_view_without_an_image(capsys):
    assert main(["view", "--no-browser"]) == 2
    message = capsys.readouterr().err
    assert "view: the image is missing; name one, as in `liif-basicsr view photo.jpg`" in message
    assert message.count("\n") == 1


def test_precisions_match_devices():
    assert tuple(DEVICE_PRECISIONS) == PRECISIONS


def test_completion_knows_commands_options_and_models(capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as error:
        main(["--print-completion", "bash"])
    script = capsys.readouterr().out
    assert not error.value.code
    for word in ("install-basicsr", "--long-edge", "liif-photo", "_liif_basicsr_models"):
        assert word in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert main(["--print-completion", "fishy"]) == 2
    assert "unknown shell 'fishy'" in capsys.readouterr().err


def test_console_with_a_narrow_code_page(tmp_path):
    code = "import sys; from liif_basicsr.__main__ import main; print(main(['upscale', '写真.png']))"
    done = run_code(code, **{**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert b"UnicodeEncodeError" not in done.stderr and b"\\u5199\\u771f.png: no such file" in done.stderr
    code = "from liif_basicsr.__main__ import main; main(['models', 'x']); print('写真')"
    assert run_code(code, **{**os.environ, "PYTHONIOENCODING": "cp1252"}).stdout.strip() == b"\\u5199\\u771f"


def test_models_lists_purpose_size_license_and_place(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["models"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines.keys() == {"liif-photo", "liif-fast", "edsr-baseline-liif", "realesrgan-x4plus"}
    assert all(part in lines["liif-photo"] for part in ("BSD-3-Clause", "installed", "(default)"))
    assert "18.9 MB" in lines["edsr-baseline-liif"] and "not downloaded" in lines["edsr-baseline-liif"]
    assert main(["models", "liif-*"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["models", "edsr"]) == 2
    assert "no known model matches 'edsr'; known models: liif-photo, " in capsys.readouterr().err
