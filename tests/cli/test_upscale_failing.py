"""`python -m liif_basicsr upscale` when it is killed, the disk is full, a folder is locked, or memory is short."""
from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from image_files import image, model, ramp
from PIL import Image

from liif_basicsr.__main__ import main
from liif_basicsr.cli._files import interrupt_on_signals
from liif_basicsr.images.upscale import Resampler

__all__ = ["model"]
COMMAND = [sys.executable, "-m", "liif_basicsr", "upscale"]
# Prefix of a command: root may read and write everything, unless it drops these capabilities.
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


def start(model: Path, *words: str, before: tuple[str, ...] = (), **how) -> subprocess.Popen:
    words = (*before, *COMMAND, "--model", str(model), "--device", "cpu", "--precision", "float32", *words)
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_leaves_no_file(model, tmp_path, number, suffix):
    Image.fromarray(ramp(60, 60)).save(tmp_path / "in.png")
    (tmp_path / "out").mkdir()
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, child processes ignore it, too
    try:
        done = start(model, str(tmp_path / "in.png"), str(tmp_path / f"out/o{suffix}"), "--size", "9000x9000")
    finally:
        signal.signal(signal.SIGHUP, before)
    while not os.listdir(tmp_path / "out"):
        assert done.poll() is None, done.communicate()
        time.sleep(0.02)
    done.send_signal(number)
    assert done.wait() == 130, done.communicate()
    done.communicate()
    assert not os.listdir(tmp_path / "out")


def test_ignored_hangup_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt_on_signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_unexpected_error_does_not_stop_the_other_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in "abc":
        image("L").save(f"in/{name}.png")
    strips, calls = Resampler.strips, iter("abc")
    monkeypatch.setattr(Resampler, "strips", lambda *args: 1 // 0 if next(calls) == "b" else strips(*args))
    assert main(["upscale", "in", "out", "--method", "nearest"]) == 1
    assert sorted(os.listdir("out")) == ["a.png", "c.png"]
    error = capsys.readouterr().err
    assert error.count("in/b.png: unexpected error, please report it with the lines above (integer division") == 2
    assert error.startswith("Traceback") and "1 of 3 images failed" in error


@pytest.mark.parametrize("streams, status, says", [
    (">&- 2>&-", 0, ""), (">/dev/full", 1, "the output: cannot be written: No space left"),
])  # fmt: skip
def test_closed_or_full_streams(tmp_path, streams, status, says):
    (tmp_path / "in").mkdir()
    image("L").save(tmp_path / "in/a.png")
    command = f"{sys.executable} -m liif_basicsr upscale in out --method nearest {streams}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == status and says in done.stderr and done.stderr.count("\n") == bool(says)
    assert os.listdir(tmp_path / "out") == ["a.png"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".bmp"])
def test_file_size_limit_leaves_no_file_and_is_reported(model, tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "in.png")
    out = tmp_path / "out"
    limit = (4000, 4000)  # bytes that a file may grow to
    done = start(model, str(tmp_path / "in.png"), str(out / f"o{suffix}"), "--scale", "5",
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))  # fmt: skip
    _, err = done.communicate()
    assert done.returncode == 1 and err.count("\n") == 1
    assert f"in.png: {out / f'o{suffix}'}: cannot be written: " in err
    assert not os.listdir(out)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user cannot mount a disk")
def test_full_disk_leaves_no_file_and_is_reported(model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", out], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        for name in ("a.png", "b.png"):
            Image.fromarray(ramp(200, 200)).save(tmp_path / name)
        words = [str(tmp_path / "a.png"), str(tmp_path / "b.png"), str(out), "--scale", "5"]
        _, err = (done := start(model, *words)).communicate()
        assert done.returncode == 1 and err.count("No space left on device") == 4
        assert not os.listdir(out)
    finally:
        subprocess.run(["umount", out], check=True)


@pytest.mark.skipif(bool(UNPRIVILEGED) and not shutil.which("setpriv"), reason="setpriv is needed by root")
def test_missing_permissions_are_named_in_one_line(model, tmp_path):
    locked, out = tmp_path / "locked", tmp_path / "out"
    for folder in (locked, out):
        folder.mkdir()
    image("L").save(locked / "a.png")
    image("L").save(tmp_path / "b.png")
    image("L").save(tmp_path / "c.png")
    (tmp_path / "c.png").chmod(0)
    locked.chmod(0)
    out.chmod(0o555)
    for words, says in {
        (str(locked), str(out)): "locked: cannot be read: Permission denied",
        (str(tmp_path / "b.png"), str(out / "b.png")): "b.png: cannot be written: Permission denied",
        (str(tmp_path / "c.png"), str(out / "c.png")): "c.png: cannot be read: Permission denied",
        (str(locked / "a.png"), str(out / "c.png")): "a.png: Permission denied",
        (str(tmp_path / "b.png"), str(locked / "new/b.png")): "locked/new/b.png: Permission denied",
        (str(tmp_path / "b.png"), str(locked / "b.png")): "locked/b.png: Permission denied",
        (str(tmp_path / "b.png"), str(tmp_path / f"{'n' * 300}.png")): "n.png: File name too long",
    }.items():
        _, err = (done := start(model, *words, "--scale", "2", before=UNPRIVILEGED)).communicate()
        assert done.returncode != 0 and says in err and err.count("\n") == 1, err
    locked.chmod(0o755)


def test_memory_does_not_grow_with_the_output(model, tmp_path):
    Image.fromarray(ramp(8, 8)).save(tmp_path / "in.png")
    code = (
        "import resource, sys; from liif_basicsr.__main__ import main; status = main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(status)"
    )
    peaks = []
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # glibc then returns freed strips at once
    for height in ("600", "10600"):
        words = ["upscale", tmp_path / "in.png", tmp_path / f"{height}.tif", "--size", f"2000x{height}"]
        command = [sys.executable, "-c", code, *words, "--model", model, "--device", "cpu"]
        out = subprocess.run(command, check=True, capture_output=True, env=env)
        peaks.append(int(out.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 20_000  # KiB; the second output is larger by 60 MB
