"""A run that is killed and resumed ends with the weights of an uninterrupted run. Unusable states are skipped."""
import os
import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader
from experiment import NETWORK, command, environ, launch, make_images, train_options, write_options

from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.launch.resume import EpochSampler, Resume, SeededDataset, newest_state


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("data") / "images", 5)


def final_weights(folder):
    data = checkpoint.read(folder / "experiments" / "tiny" / "models" / "net_g_latest.pth")
    return {(key, name): value for key in ("params", "params_ema") for name, value in data[key].items()}


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, images):
    """An uninterrupted run: 4 iterations per epoch, checkpoints within epochs and at their ends."""
    folder = tmp_path_factory.mktemp("whole")
    opt = train_options(images, total_iter=150, save_every=3)
    opt["logger"]["print_freq"] = 50
    launch("train", write_options(folder / "options.yml", opt))
    return folder, opt


def test_killed_and_resumed_run_has_the_same_weights(tmp_path, whole):
    """The run is killed, and its newest state is truncated. The resumed run loads the data with two workers."""
    folder, opt = whole
    path = write_options(tmp_path / "options.yml", opt)
    states = tmp_path / "experiments" / "tiny" / "training_states"
    with open(tmp_path / "said", "w") as said:
        run = subprocess.Popen(command("train", path), cwd=tmp_path, env=environ(), stdout=said, stderr=said)
        while not (states / "9.state").exists():
            assert run.poll() is None
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert not (states / "150.state").exists()
    saved = sorted(int(file.stem) for file in states.glob("*.state"))
    truncate(states / f"{saved[-1]}.state")
    opt["datasets"]["train"]["num_worker_per_gpu"] = 2
    said = launch("train", write_options(path, opt), "--auto_resume")
    assert f"liif_basicsr: warning: skipped: {states}/{saved[-1]}.state: not a checkpoint, or damaged" in said
    assert f"Resuming training from epoch: {(saved[-2] - 1) // 4}, iter: {saved[-2]}." in said
    expected = final_weights(folder)
    assert all(torch.equal(value, expected[key]) for key, value in final_weights(tmp_path).items())
    assert not list(tmp_path.glob("experiments/*archived*"))


# States -----------------------------------------------------------------------------------------------------


@pytest.fixture
def opt(tmp_path):
    """Options as BasicSR passes them to load_resume_state, with checkpoints at iterations 8, 9 and 10."""
    folders = {key: tmp_path / key for key in ("models", "training_states")}
    params = build_network(NETWORK).state_dict()
    for folder in folders.values():
        folder.mkdir()
    for k in (8, 9, 10):
        state = {"epoch": 0, "iter": k, "optimizers": [], "schedulers": []}
        checkpoint.save(tmp_path / "models" / f"net_g_{k}.pth", {"params": params, "network_g": NETWORK})
        checkpoint.save(tmp_path / "training_states" / f"{k}.state", state)
    return {"auto_resume": True, "network_g": NETWORK, "path": {key: str(value) for key, value in folders.items()}}


def test_newest_state(opt, tmp_path):
    (tmp_path / "training_states" / "latest.state").write_bytes(b"")  # BasicSR writes no such file
    state = Resume(build_dataloader).load_state(opt)
    assert state["iter"] == 10
    assert opt["path"]["resume_state"] == f"{tmp_path}/training_states/10.state"
    assert opt["path"]["pretrain_network_g"] == f"{tmp_path}/models/net_g_10.pth"


def rewrite(path, **changes):
    checkpoint.save(path, {**checkpoint.read_tensors(path), **changes})


STATE, NET = "training_states/10.state", "models/net_g_10.pth"
DAMAGE = {
    "truncated": (STATE, truncate, "10.state: not a checkpoint, or damaged"),
    "of another kind": (STATE, lambda path: torch.save([1], path), "10.state: not a training state"),
    "of another iteration": (STATE, lambda path: shutil.copy(path.with_name("9.state"), path), "its iteration is 9"),
    "with a text as iteration": (STATE, lambda path: rewrite(path, iter="10"), "iter: expected an integer"),
    "with a number as optimizers": (STATE, lambda path: rewrite(path, optimizers=3), "optimizers: expected a list"),
    "hostile": (STATE, lambda path: torch.save(os.system, path), "10.state: refused, because it contains more"),
    "without network": (NET, os.unlink, "net_g_10.pth: no such file"),
    "with truncated network": (NET, truncate, "net_g_10.pth: not a checkpoint, or damaged"),
}


@pytest.mark.parametrize(("name", "damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_checkpoints_are_skipped(opt, tmp_path, capsys, name, damage, reason):
    damage(tmp_path / name)
    assert newest_state(opt)["iter"] == 9
    said = capsys.readouterr().err
    assert said.startswith("liif_basicsr: warning: skipped: ") and reason in said and said.count("\n") == 1


def test_a_run_does_not_continue_among_later_states(opt, tmp_path):
    """Otherwise, --auto_resume would later continue from them."""
    opt["auto_resume"] = False
    opt["path"]["resume_state"] = f"{tmp_path}/training_states/9.state"
    with pytest.raises(LIIFError, match="^path: resume_state: .*9.state: there are later states, up to .*10.state"):
        Resume(build_dataloader).load_state(opt)
    os.unlink(tmp_path / STATE)
    assert Resume(build_dataloader).load_state(opt)["iter"] == 9


def test_auto_resume_without_states_needs_the_resume_state(opt, tmp_path):
    opt["path"].update(resume_state=f"{tmp_path}/9.state", training_states=f"{tmp_path}/none")
    with pytest.raises(LIIFError, match="9.state: no such file"):
        Resume(build_dataloader).load_state(opt)
    (tmp_path / "training_states" / "9.state").rename(tmp_path / "9.state")
    assert Resume(build_dataloader).load_state(opt)["iter"] == 9


def test_a_damaged_resume_state_is_an_error(opt, tmp_path):
    truncate(tmp_path / "models" / "net_g_10.pth")
    opt["auto_resume"] = False
    opt["path"]["resume_state"] = str(tmp_path / "training_states" / "10.state")
    with pytest.raises(LIIFError, match="net_g_10.pth: not a checkpoint"):
        Resume(build_dataloader).load_state(opt)


def test_without_a_usable_state_the_run_does_not_start_over(opt, tmp_path):
    for path in (tmp_path / "training_states").iterdir():
        truncate(path)
    with pytest.raises(LIIFError, match="contains no usable state; remove --auto_resume to start over"):
        newest_state(opt)


def test_without_states_the_run_starts(opt, tmp_path):
    shutil.rmtree(tmp_path / "training_states")
    assert newest_state(opt) is None


# Data -------------------------------------------------------------------------------------------------------


class Draws(torch.utils.data.Dataset):
    """Dataset whose samples are the index and a random number from each generator."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return index, torch.rand(()).item(), np.random.rand(), random.random()


def batches(epochs, state=None, ranks=1, workers=0, seed=1, batch_size=4, ratio=3):
    """Return the batches of each epoch. Batches of several ranks are joined, as if one process had loaded them."""
    block = {"phase": "train", "batch_size_per_gpu": batch_size // ranks, "num_worker_per_gpu": workers}
    parts = []
    for rank in range(ranks):
        resume = Resume(build_dataloader)
        resume.state = state
        sampler = EpochSampler(Draws(), ranks, rank, ratio)
        loader = resume.build_dataloader(Draws(), block, num_gpu=0, dist=False, sampler=sampler, seed=seed)
        part = []
        for epoch in epochs:
            sampler.set_epoch(epoch)
            part.append([torch.stack(batch, -1).tolist() for batch in loader])
        parts.append(part)
    join = [
        [[sample for samples in zip(*batch, strict=True) for sample in samples] for batch in zip(*epoch, strict=True)]
        for epoch in zip(*parts, strict=True)
    ]
    return join


def test_epochs_have_the_iterations_that_basicsr_counts():
    assert [len(epoch) for epoch in batches([0, 1])] == [6, 6]  # ceil(7 * 3 / 4)
    assert [len(epoch) for epoch in batches([0], batch_size=32)] == [1]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # there may be only one core for two workers
def test_samples_do_not_depend_on_workers_and_processes():
    expected = batches([0, 1])
    assert batches([0, 1], workers=2) == expected
    assert batches([0, 1], ranks=2) == expected
    assert batches([0, 1], ranks=4) == expected


def test_random_numbers_differ_between_epochs_samples_and_seeds():
    def drawn(epochs):
        return [tuple(sample[1:]) for epoch in epochs for batch in epoch for sample in batch]

    values = drawn(batches([0, 1, 2])) + drawn(batches([0, 1, 2], seed=2))
    assert len(set(values)) == len(values) == 2 * 3 * 24
    for column in zip(*values, strict=True):
        assert 0.4 < np.mean(column) < 0.6


@pytest.mark.parametrize("iteration", [1, 5, 6, 7, 12])
def test_a_resumed_epoch_continues(iteration):
    state = {"epoch": (iteration - 1) // 6, "iter": iteration}
    expected = [batch for epoch in batches([0, 1, 2]) for batch in epoch]
    resumed = [batch for epoch in batches(range(state["epoch"], 3), state) for batch in epoch]
    assert resumed == expected[iteration:]


@pytest.mark.parametrize(("epoch", "iteration", "counted"), [(3, 99, 16), (40, 99, 16), (9, 2, 0)])
def test_with_other_data_the_epoch_starts_again_with_a_warning(capsys, epoch, iteration, counted):
    """The number of the epoch is recomputed for the new data, so that BasicSR reaches the last iteration."""
    state = {"epoch": epoch, "iter": iteration}
    assert batches([epoch], state) == batches([epoch])
    assert state["epoch"] == counted
    assert "the current epoch starts over" in capsys.readouterr().err


@pytest.mark.parametrize("how", [{"ratio": 10**8}, {"batch_size": 10**8}], ids=str)
def test_too_long_epochs_are_an_error(how):
    with pytest.raises(LIIFError, match="datasets: train: an epoch of .* samples is too long, .*; lower"):
        batches([0], **how)


def test_skipped_samples_are_not_loaded():
    class Counting(Draws):
        loaded = 0

        def __getitem__(self, index):
            self.loaded += 1
            return super().__getitem__(index)

    sampler = EpochSampler(dataset := Counting(), 1, 0, ratio=3)
    sampler.first = (0, 18)
    assert len([SeededDataset(dataset)[key] for key in sampler]) == dataset.loaded == 3
