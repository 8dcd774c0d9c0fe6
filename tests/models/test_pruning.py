"""Old checkpoints are removed if an option says so, but never one that is needed."""
import os

import pytest
from basicsr.models import build_model
from experiment import model_options, steps

from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint


@pytest.fixture
def make(tmp_path, images):
    """Return a function that builds a model with the given options in `logger`."""

    def make(**logger):
        opt = model_options(tmp_path, images)
        opt["logger"].update(logger)
        return build_model(opt)

    return make


def names(folder):
    return sorted(path.name for kind in ("models", "training_states") for path in (folder / kind).iterdir())


def files(*iterations):
    return sorted(name for k in iterations for name in (f"net_g_{k}.pth", f"{k}.state"))


def test_checkpoints_are_kept_by_default(make, tmp_path):
    model = make()
    for k in range(1, 6):
        model.save(0, k)
    assert names(tmp_path) == files(1, 2, 3, 4, 5)


def test_the_newest_are_kept(make, tmp_path):
    model = make(keep_checkpoints=2)
    model.save(0, -1)
    for k in (8, 9, 10, 11):
        model.save(0, k)
    model.save(0, -1)
    assert names(tmp_path) == sorted([*files(10, 11), "net_g_latest.pth"])


def test_milestones_and_the_best_are_kept(make, tmp_path):
    model = make(keep_checkpoints=1, keep_checkpoint_freq=4)
    model.best_metric_results = {"A_x2": {"psnr": {"iter": 3, "val": 30.0}}, "B_x2": {"psnr": {"iter": 6, "val": 3.0}}}
    for k in range(1, 11):
        model.save(0, k)
    assert names(tmp_path) == files(3, 4, 6, 8, 10)


def test_incomplete_foreign_and_later_files_are_kept(make, tmp_path):
    """A run resumes at iteration 3, next to later checkpoints, networks without a state, and other files."""
    model = make()
    for k in (1, 2, 3, 20, 30):
        model.save(0, k)
    os.unlink(tmp_path / "training_states" / "1.state")
    (tmp_path / "models" / "net_g_2_mine.pth").touch()
    (tmp_path / "models" / "notes").mkdir()
    model.opt["logger"]["keep_checkpoints"] = 1
    model.save(0, 4)
    assert names(tmp_path) == sorted([*files(4, 20, 30), "net_g_1.pth", "net_g_2_mine.pth", "notes"])
    assert model.newest_checkpoint() == tmp_path / "models" / "net_g_30.pth"


def test_all_networks_of_an_iteration_go_with_its_state(make, tmp_path):
    model = make(keep_checkpoints=1)
    model.opt["network_d"] = model.opt["network_g"]
    for k in (1, 2):
        model.save_network(model.net_g, "net_d", k)
        model.save(0, k)
    assert names(tmp_path) == sorted([*files(2), "net_d_2.pth"])


def test_old_checkpoints_are_removed_after_the_new_one_is_written(make, tmp_path):
    model = make(keep_checkpoints=1)
    model.save(0, 1)
    os.mkdir(tmp_path / "training_states" / "2.state")  # a file cannot replace this folder
    with pytest.raises(LIIFError, match="2.state: cannot be written"):
        model.save(0, 2)
    assert set(files(1)) <= set(names(tmp_path))
    checkpoint.read(tmp_path / "models" / "net_g_1.pth")


def test_partial_files_are_removed_on_resuming(make, tmp_path):
    model = make()
    steps(model, 1)
    model.save(0, 1)
    for folder in ("models", "training_states"):
        (tmp_path / folder / ".abc.part").touch()
    model.opt["path"]["resume_state"] = "1.state"
    model.resume_training(checkpoint.read_tensors(tmp_path / "training_states" / "1.state"))
    assert names(tmp_path) == files(1)
