"""Several gloo processes compute the same weights and metrics as one process, and end together."""
import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from experiment import (
    NETWORK,
    children,
    command,
    environ,
    launch,
    make_images,
    train_options,
    val_set,
    write_options,
)  # fmt: skip

from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.launch.distributed import init_dist

METRICS = {"psnr": {"type": "calculate_psnr_liif"}, "ssim": {"type": "calculate_ssim"}}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A set of five images, and one with fewer images than processes."""
    folder = tmp_path_factory.mktemp("data")
    return make_images(folder / "five", 5), make_images(folder / "two", 2, seed=1)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, images):
    """A training run with a teacher, in one process."""
    folder = tmp_path_factory.mktemp("alone")
    opt = train_options(images[0], total_iter=10, save_every=100)
    torch.manual_seed(1)
    checkpoint.save(folder / "teacher.pth", {"network_g": NETWORK, "params": build_network(NETWORK).state_dict()})
    opt["train"]["teacher"] = {"path": str(folder / "teacher.pth"), "weight": 0.5}
    opt["datasets"]["val_1"] = val_set("A", images[0], [2, [3, 2.5]])
    opt["val"] = {"val_freq": 100, "save_img": False, "metrics": METRICS}
    return folder, opt, launch("train", write_options(folder / "options.yml", opt))


def weights(folder):
    return checkpoint.read(folder / "experiments" / "tiny" / "models" / "net_g_latest.pth")["params"]


def test_two_processes_train_to_the_weights_of_one(tmp_path, alone):
    """Two processes with half the batch size each have the same global batch, so the final metrics are equal."""
    folder, opt, expected = alone
    train_set = {**opt["datasets"]["train"], "batch_size_per_gpu": 2}
    opt = {**opt, "datasets": {**opt["datasets"], "train": train_set}}
    said = launch("train", write_options(tmp_path / "options.yml", opt), processes=2)
    ours, theirs = weights(tmp_path), weights(folder)
    assert max((ours[key] - value).abs().max() for key, value in theirs.items()) < 1e-6
    for label in ("A_x2", "A_x3x2.5"):
        lines = [text.rpartition(f"Validation {label}")[2].split("# psnr: ")[1].split()[0] for text in (said, expected)]
        assert float(lines[0]) == pytest.approx(float(lines[1]), abs=1e-3)


def table(folder, opt, images, trained, processes):
    """Test on two sets and return the table."""
    sets = {"test_1": val_set("A", images[0], [2, 3.5]), "test_2": val_set("B", images[1], [2])}
    network = {"pretrain_network_g": str(trained / "experiments" / "tiny" / "models" / "net_g_latest.pth")}
    opt = {**opt, "datasets": sets, "path": network, "val": {"save_img": True, "metrics": METRICS}}
    launch("test", write_options(folder / "options.yml", opt), processes=processes)
    assert len(list((folder / "results" / "tiny").rglob("*.png"))) == 12
    with open(folder / "results" / "tiny" / "results.csv", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def expected_table(tmp_path_factory, alone, images):
    return table(tmp_path_factory.mktemp("table"), alone[1], images, alone[0], processes=0)


@pytest.mark.parametrize("processes", [2, 3])
def test_distributed_validation_has_the_same_results(tmp_path, alone, images, expected_table, processes):
    assert [row[0] for row in expected_table] == ["set", "A_x2", "A_x3.5", "B_x2"]
    assert table(tmp_path, alone[1], images, alone[0], processes) == expected_table


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_if_a_process_dies_the_others_end_with_a_message(tmp_path, alone):
    """The processes are started without torchrun, because torchrun would end them itself."""
    opt = {**alone[1], "train": {**alone[1]["train"], "total_iter": 10**6}}
    path = write_options(tmp_path / "options.yml", opt)
    common = {**environ(), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    runs = []
    for rank in range(2):
        variables = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        with open(tmp_path / f"said{rank}", "w") as said:
            args = command("train", path, "--launcher", "pytorch")
            runs.append(subprocess.Popen(args, cwd=tmp_path, env=variables, stdout=said, stderr=said))
    try:
        while "iter:      20" not in (tmp_path / "said0").read_text():
            assert runs[0].poll() is None
            time.sleep(0.05)
        runs[1].send_signal(signal.SIGKILL)
        assert runs[0].wait(60) == 2
    finally:
        for run in runs:
            run.kill()
            run.wait()
    last = (tmp_path / "said0").read_text().splitlines()[-1]
    assert last.startswith("liif_basicsr: error: another process of this run has ended or does not respond")


def test_after_losing_a_process_the_destructors_of_gloo_are_skipped():
    """gloo's destructors abort the process only sometimes, so the test uses an exit handler that always aborts."""
    script = """
import atexit, os, sys
from liif_basicsr import launch
from liif_basicsr.launch.ranks import others_ended

def lost(is_train):
    raise others_ended(RuntimeError("Connection closed by peer"))

atexit.register(os.abort)
launch._run = lost
sys.exit(launch.main(is_train=True))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ())
    assert done.returncode == 2
    assert done.stderr.startswith("liif_basicsr: error: another process of this run has ended or does not respond")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_if_a_process_dies_torchrun_ends_the_run_with_a_message(tmp_path, alone):
    opt = {**alone[1], "train": {**alone[1]["train"], "total_iter": 10**6}}
    path = write_options(tmp_path / "options.yml", opt)
    with open(tmp_path / "said", "w") as said:
        torchrun = subprocess.Popen(
            command("train", path, processes=2), cwd=tmp_path, env=environ(), stdout=said, stderr=said
        )
    try:
        while "iter:      20" not in (tmp_path / "said").read_text():
            assert torchrun.poll() is None
            time.sleep(0.05)
        dies, other = children(torchrun.pid)
        os.kill(dies, signal.SIGKILL)
        assert torchrun.wait(60) == 1
    finally:
        torchrun.kill()
        torchrun.wait()
    assert not Path(f"/proc/{other}").exists()
    assert f"Signal 9 (SIGKILL) received by PID {dies}" in (tmp_path / "said").read_text()


def test_a_mistake_ends_all_processes(tmp_path, alone):
    opt = {**alone[1], "path": {"pretrain_network_g": "none.pth"}}
    said = launch("train", write_options(tmp_path / "options.yml", opt), processes=2, status=1)
    assert "liif_basicsr: error: path: pretrain_network_g: model 'none.pth': no such file" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU BasicSR's own function is used")
@pytest.mark.parametrize(("launcher", "message"), [
    ("pytorch", "torchrun did not start this process .*; use torchrun"), ("slurm", "needs GPUs"),
])  # fmt: skip
def test_launchers_that_cannot_start(launcher, message):
    with pytest.raises(LIIFError, match=f"--launcher {launcher}: {message}"):
        init_dist(launcher)
