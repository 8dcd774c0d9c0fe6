"""`upscale` under torchrun, also when one of the processes is killed."""
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from experiment import children, environ, make_images, torchrun
from image_files import model

__all__ = ["model"]
COUNT = 6


def command(model: Path, processes: int, *words: str) -> list[str]:
    """Return the command, started by torchrun or as a single process."""
    run = torchrun(processes) if processes else [sys.executable]
    options = ["--model", str(model), "--device", "cpu", "--precision", "float32", "--size", "1100x1000"]
    return [*run, "-m", "liif_basicsr", "upscale", "in", "out", *options, *words]


def upscale(folder: Path, model: Path, processes: int, *words: str, status: int = 0) -> tuple[list[str], str]:
    """Run the command to its end; return the names of the images on stdout, and all of stderr."""
    run = command(model, processes, *words)
    done = subprocess.run(run, cwd=folder, env=environ(), text=True, capture_output=True, check=False, timeout=240)
    assert done.returncode == status, done.stderr
    return re.findall(r"^out/(\w+\.png): 1100x1000, by ", done.stdout, re.MULTILINE), done.stderr


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, model: Path) -> dict[str, bytes]:
    """Return the files that one process writes."""
    folder = tmp_path_factory.mktemp("expected")
    make_images(folder / "in", COUNT)
    assert sorted(upscale(folder, model, 0)[0]) == [f"p{k}.png" for k in range(COUNT)]
    return files(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_images(tmp_path / "in", COUNT)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    """Return the written images by name."""
    return {path.name: path.read_bytes() for path in (folder / "out").glob("*.png")}


@pytest.mark.parametrize("processes", [2, 3])
def test_each_image_is_made_once_and_each_failure_listed_once(folder, model, expected, processes) -> None:
    for name in ("a.png", "z.png"):
        (folder / "in" / name).write_bytes(b"no image")
    made, said = upscale(folder, model, processes, status=1)
    assert sorted(made) == sorted(expected) and files(folder) == expected
    listed = said.partition(f"2 of {COUNT + 2} images failed:")[2].splitlines()[1:3]
    assert [line.split(":")[0].strip() for line in listed] == ["in/a.png", "in/z.png"]
    assert said.count("images failed") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_only_missing_images_are_made_after_a_kill(folder, model, expected) -> None:
    with open(folder / "said", "w") as said:
        run = subprocess.Popen(command(model, 2), cwd=folder, env=environ(), stdout=said, stderr=said)
    try:
        while not files(folder):
            assert run.poll() is None, (folder / "said").read_text()
            time.sleep(0.01)
        os.kill(children(run.pid)[1], signal.SIGKILL)
        assert run.wait(60) == 1
    finally:
        run.kill()
        run.wait()
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*.png")}
    assert 0 < len(before) < COUNT and files(folder).items() <= expected.items()
    made, _ = upscale(folder, model, 3, "--skip-existing")
    assert sorted(made) == sorted(expected.keys() - {path.name for path in before})
    assert files(folder) == expected and all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_torchrun_that_may_restart_goes_on_where_a_process_was_killed(folder, model, expected) -> None:
    run = command(model, 2, "--skip-existing")
    run.insert(run.index("-m", 2), "--max-restarts=1")
    with open(folder / "said", "w") as said:
        restarting = subprocess.Popen(run, cwd=folder, env=environ(), stdout=said, stderr=said)
    try:
        while not files(folder):
            time.sleep(0.01)
        os.kill(children(restarting.pid)[0], signal.SIGKILL)
        assert restarting.wait(240) == 0, (folder / "said").read_text()
    finally:
        restarting.kill()
        restarting.wait()
    assert files(folder) == expected
