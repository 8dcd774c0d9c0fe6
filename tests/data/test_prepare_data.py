"""`python -m liif_basicsr prepare`, including interrupted and killed runs."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from conftest import ROOT
from datafiles import noise_image, save
from hypothesis import given
from hypothesis import strategies as st

from liif_basicsr.__main__ import main
from liif_basicsr.data.prepare import sets
from liif_basicsr.data.prepare.storing import LmdbFile, Settings, atomic_folder, keys, open_any, starts, store
from liif_basicsr.data.source import open_source
from liif_basicsr.errors import LIIFError

COMMAND = [sys.executable, "-m", "liif_basicsr", "prepare"]


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def prepare(folder: Path, *args: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, args)]
    done = subprocess.run(command, cwd=folder, env=environ(), text=True, capture_output=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def contents(root: Path) -> dict[str, bytes]:
    """Return all entries of an LMDB, and its meta file."""
    with lmdb.open(str(root), readonly=True, lock=False) as env, env.begin() as transaction:
        entries = {bytes(key).decode(): bytes(value) for key, value in transaction.cursor()}
    return {**entries, "meta_info.txt": (root / "meta_info.txt").read_bytes()}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for k, size in enumerate([(500, 760), (100, 90), (480, 481)]):
        save(tmp_path / "photos" / f"photo {k}.png", noise_image(*size, seed=k))
    return tmp_path / "photos"


def test_basicsr_reads_the_lmdb_of_a_folder(tmp_path: Path, photos: Path) -> None:
    from basicsr.data.single_image_dataset import SingleImageDataset

    done = prepare(tmp_path, "folder", photos, "set", "--processes", 2)
    assert "dataroot_gt: set.lmdb" in done.stdout and "stored 9 sub-images of 3 images" in done.stdout
    lines = (tmp_path / "set.lmdb" / "meta_info.txt").read_text().splitlines()
    assert lines[0] == "photo_0_s001.png (480,480,3) 1" and lines[6] == "photo_1_s001.png (100,90,3) 1"
    opt = {"dataroot_lq": str(tmp_path / "set.lmdb"), "io_backend": {"type": "lmdb"}}
    dataset = SingleImageDataset(opt)
    names = [f"photo_0_s00{k}" for k in range(1, 7)] + ["photo_1_s001", "photo_2_s001", "photo_2_s002"]
    assert [item["lq_path"] for item in dataset] == names
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []

    first = noise_image(500, 760)
    corners = [(top, left) for top in (0, 20) for left in (0, 240, 280)]
    for k, (top, left) in enumerate(corners):
        image = (dataset[k]["lq"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        assert np.array_equal(image, first[top : top + 480, left : left + 480])

    before = (tmp_path / "set.lmdb" / "data.mdb").stat().st_mtime_ns
    assert "already" in prepare(tmp_path, "folder", photos, "set").stdout
    assert (tmp_path / "set.lmdb" / "data.mdb").stat().st_mtime_ns == before


def test_check_lists_corrupt_images_and_writes_nothing(tmp_path: Path, photos: Path) -> None:
    path = photos / "photo 1.png"
    path.write_bytes(path.read_bytes()[:5000])
    done = prepare(tmp_path, "folder", photos, "--check", status=1)
    assert str(path) in done.stdout and "1 of 3 images" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]
    done = prepare(tmp_path, "folder", photos, "set", status=2)
    line = done.stderr.splitlines()[-1]
    assert "error:" in line and str(path) in line and "--check" in line
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["div2k"], "DIV2K_train_HR.zip"),
        (["benchmark"], "benchmark.tar"),
        (["folder", "nothing", "out"], "nothing does not exist"),
        (["folder", "file.png", "out"], "file.png is a file, not a folder; make a data set from a folder of images"),
        (["div2k", "file.png"], "file.png is a file, not a folder; unpack"),
        (["folder", "photos", "."], ".: a data set needs a name, such as my_photos"),
        (["folder", "photos", "/"], "/: a data set needs a name, such as /my_photos"),
        (["folder", "photos", "..", "--pixels"], "..: a data set needs a name, such as ../my_photos"),
        (["teach", "photos", "out", "--seed", "-1"], "argument --seed: expected an integer of at least 0, got '-1'"),
        (["folder", "."], "the data set to write is missing; add its path as the second argument: "),
    ],
)
def test_unusable_paths_are_reported_in_one_line(tmp_path: Path, monkeypatch, capsys, args, part: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.png").touch()
    save(Path("photos", "a.png"), noise_image(9, 9))
    assert main(["prepare", *args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and part in error and sorted(os.listdir()) == ["file.png", "photos"]


def start_and_wait(folder: Path) -> subprocess.Popen[str]:
    """Start a run and wait until it has begun to write."""
    command = [*COMMAND, "folder", "photos", "set", "--processes", "2"]
    process = subprocess.Popen(command, cwd=folder, env=environ(), text=True, stderr=subprocess.PIPE)
    data = folder / "set.lmdb.partial" / "set.lmdb" / "data.mdb"
    while not (data.exists() and data.stat().st_size > 2_000_000):
        assert process.poll() is None
        time.sleep(0.01)
    return process


@pytest.fixture
def many_photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for k in range(30):
        cv2.imwrite(str(tmp_path / "photos" / f"{k}.png"), noise_image(500, 760, seed=k))
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_run_can_be_repeated(many_photos: Path) -> None:
    process = start_and_wait(many_photos)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.communicate(timeout=60)  # returns when the workers, which inherited the pipe, have exited
    assert not (many_photos / "set.lmdb").exists()
    assert "stored 180 sub-images of 30 images" in prepare(many_photos, "folder", "photos", "set").stdout
    store(open_any(many_photos / "photos"), many_photos / "whole.lmdb", Settings())
    assert contents(many_photos / "set.lmdb") == contents(many_photos / "whole.lmdb")
    assert not (many_photos / "set.lmdb.partial").exists()
    assert workers and not [pid for pid in workers if running(pid)]


def test_second_run_leaves_the_first_alone(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "set.lmdb") as folder:
        (folder / "first").touch()
        with pytest.raises(LIIFError, match="set.lmdb is being written by another run; wait"):
            store(open_any(save(tmp_path / "a.png", noise_image(9, 9)).parent), tmp_path / "set.lmdb", Settings())
    assert [path.name for path in (tmp_path / "set.lmdb").iterdir()] == ["first"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "set.lmdb"]


def running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_interrupted_run_leaves_nothing(many_photos: Path) -> None:
    process = start_and_wait(many_photos)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert [path.name for path in many_photos.iterdir()] == ["photos"]


def test_unwritable_target(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LIIFError, match="set.lmdb cannot be written"):
        store(open_any(photos), tmp_path / "file" / "set.lmdb", Settings())


def test_step_larger_than_crop(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(LIIFError, match="step 100 is larger than crop 90"):
        store(open_any(photos), tmp_path / "set.lmdb", Settings(crop=90, step=100))


def test_lmdb_grows_beyond_its_initial_size(tmp_path: Path) -> None:
    with closing(LmdbFile(tmp_path)) as file:
        file.env.set_mapsize(2**20)
        for k in range(50):
            file.write(str(k), bytes([k]) * 100_000)
    with lmdb.open(str(tmp_path), readonly=True, lock=False) as env, env.begin() as transaction:
        assert [transaction.get(str(k).encode()) for k in range(50)] == [bytes([k]) * 100_000 for k in range(50)]


# Benchmark sets and the quickstart ---------------------------------------------------------------------------


def test_folders_of_the_system_are_not_benchmark_sets(tmp_path: Path) -> None:
    save(tmp_path / "in" / "Set1" / "a.png", noise_image(24, 24))
    for name in ("__MACOSX/Set1", ".cache"):
        (tmp_path / "in" / name).mkdir(parents=True)
    assert {path.parent.name for path in sets.benchmark(tmp_path / "in", tmp_path / "out")} == {"Set1"}


def test_benchmark_archive(tmp_path: Path) -> None:
    archive = tmp_path / "bm" / "Set5"
    for scale in (2, 3, 4):
        save(archive / "LR_bicubic" / f"X{scale}" / f"babyx{scale}.png", noise_image(50 // scale, 12))
    save(archive / "HR" / "baby.png", noise_image(50, 49))
    assert len(sets.benchmark(tmp_path / "bm", tmp_path / "out")) == 6
    assert sets.benchmark(tmp_path / "bm", tmp_path / "out") == []
    for scale in (2, 3, 4):
        lq, gt = (open_any(tmp_path / "out" / "Set5" / f"{kind}_x{scale}") for kind in ("LR_bicubic", "GT"))
        assert gt.names == lq.names == ["baby.png"]
        assert np.array_equal(lq.read(0), noise_image(50 // scale, 12))
        assert np.array_equal(gt.read(0), noise_image(50, 49)[: 50 // scale * scale, : 12 * scale])
    (archive / "LR_bicubic" / "X3" / "babyx3.png").unlink()
    with pytest.raises(LIIFError, match="babyx3.png cannot be read"):
        sets.benchmark(tmp_path / "bm", tmp_path / "other")
    assert not list((tmp_path / "other" / "Set5").glob("*x3*"))


@pytest.mark.parametrize("others", ["b.jpg", "b.tif"])
def test_images_that_would_share_a_name_are_refused(tmp_path: Path, others: str) -> None:
    for name in ("a.png", "b.png", others):
        save(tmp_path / "bm" / "Mine" / name, noise_image(24, 24))
    with pytest.raises(LIIFError, match=r"b\.\w+ and b\.\w+ would both become b\.png; rename one"):
        sets.benchmark(tmp_path / "bm", tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.png"))


def test_images_that_differ_in_suffix_have_keys_of_their_own(tmp_path: Path) -> None:
    images = {"a.png": 1, "a.bmp": 2, "a_2.png": 3}
    for name, seed in images.items():
        save(tmp_path / "photos" / name, noise_image(24, 24, seed))
    store(open_any(tmp_path / "photos"), tmp_path / "set.lmdb", Settings())
    source = open_any(tmp_path / "set.lmdb")
    found = {source.read(index).tobytes() for index in range(len(source))}
    assert found == {noise_image(24, 24, seed).tobytes() for seed in images.values()}


def test_imresize_equals_the_usual_files(tmp_path: Path, shared_data: Path) -> None:
    theirs = shared_data / "benchmark" / "Set5"
    shutil.copytree(theirs / "GT_x4", tmp_path / "plain" / "Set5")
    sets.benchmark(tmp_path / "plain", tmp_path / "out")
    ours = open_any(tmp_path / "out" / "Set5" / "LR_bicubic_x4")
    given = open_any(theirs / "LR_bicubic_x4")
    assert len(ours) == len(given) == 5
    for index in range(5):
        assert np.array_equal(ours.read(index), given.read(index))


def test_quickstart_sets_are_disjoint(tmp_path: Path) -> None:
    prepare(tmp_path, "quickstart")
    train = open_source(str(tmp_path / "datasets/quickstart/train.lmdb"), "lmdb")
    val = open_source(str(tmp_path / "datasets/quickstart/val"), "disk")
    assert val.names == ["chelsea.png", "coffee.png"] and len(train) > 50
    assert not any(name.startswith(("chelsea", "coffee")) for name in train.names)
    assert all(min(train.size(k)) >= 192 and train.read(k).shape[2] == 3 for k in range(len(train)))


# Properties --------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 3000), crop=st.integers(1, 600), data=st.data())
def test_crops_cover_the_image_and_stay_inside(n: int, crop: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(1, crop))
    found = starts(n, crop, step)
    assert found[0] == 0 and found[-1] + crop == max(n, crop)
    assert all(0 < b - a <= step for a, b in zip(found, found[1:], strict=False))


@given(st.lists(st.text(max_size=8), max_size=8))
def test_keys_are_unique_ascii_without_dots(names: list[str]) -> None:
    found = keys(names)
    assert len(set(found)) == len(names)
    assert all(key.isascii() and "." not in key and "/" not in key and " " not in key for key in found)
