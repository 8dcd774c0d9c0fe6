"""Resuming with other options: hyperparameters come from the options, moments and step counts from the state."""
import copy

import pytest
import torch
from basicsr.models import build_model
from experiment import steps

from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.models.liif_model import LIIFModel

COSINE = {"type": "CosineAnnealingRestartLR", "periods": [6], "restart_weights": [1], "eta_min": 1e-4}


def rates(model, first, last):
    """Return the learning rates of iterations `first` to `last`."""
    found = []
    for k in range(first, last + 1):
        model.update_learning_rate(k)
        found.append(model.get_current_learning_rate()[0])
        model.optimizer_g.step()
    return found


def resumed(opt, tmp_path, **train):
    """Stop a run after 4 iterations, and resume it with other options."""
    first = build_model(copy.deepcopy(opt))
    for k in range(4):
        first.update_learning_rate(k + 1)
        first.optimizer_g.step()
    first.save(0, 4)
    opt["train"].update(copy.deepcopy(train))
    opt["path"]["resume_state"] = "4.state"
    again = build_model(copy.deepcopy(opt))
    again.resume_training(checkpoint.read_tensors(tmp_path / "training_states" / "4.state"))
    return again


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (COSINE, {"scheduler": {**COSINE, "periods": [20]}, "total_iter": 20}),
        (COSINE, {"scheduler": {**COSINE, "periods": [6, 14], "restart_weights": [1, 0.5]}, "total_iter": 20}),
        (None, {"scheduler": {"type": "MultiStepLR", "milestones": [3, 8], "gamma": 0.5}, "total_iter": 20}),
        (None, {"scheduler": {"type": "MultiStepLR", "milestones": [2, 3, 8], "gamma": 0.1}, "total_iter": 20}),
        (None, {"scheduler": {"type": "MultiStepRestartLR", "milestones": [2, 6], "gamma": 0.1, "restarts": [3],
                              "restart_weights": [0.7]}, "total_iter": 20}),
        (None, {"optim_g": {"type": "Adam", "lr": 0.002}, "total_iter": 20}),
    ],
    ids=["cosine longer", "cosine with a restart", "milestone later", "gamma", "restart", "lr"],
)  # fmt: skip
def test_a_changed_schedule_has_the_rates_of_a_fresh_run(opt, tmp_path, before, after):
    if before:
        opt["train"]["scheduler"] = copy.deepcopy(before)
    fresh = copy.deepcopy(opt)
    fresh["train"].update(copy.deepcopy(after))
    expected = rates(build_model(fresh), 1, 18)[4:]
    model = resumed(opt, tmp_path, **after)
    assert rates(model, 5, 18) == pytest.approx(expected, rel=1e-12)


def test_changed_hyperparameters_are_logged_and_take_effect(opt, tmp_path, lines):
    model = resumed(opt, tmp_path, optim_g={"type": "Adam", "lr": 0.002, "betas": [0.5, 0.9], "weight_decay": 0.1})
    group = model.optimizer_g.param_groups[0]
    assert list(group["betas"]) == [0.5, 0.9] and group["weight_decay"] == 0.1
    text = "\n".join(lines)
    assert "Resuming with betas: [0.5, 0.9] instead of [0.9, 0.999]" in text
    assert "weight_decay: 0.1 instead of 0" in text and "initial_lr: 0.002 instead of 0.01" in text


def test_unchanged_options_resume_exactly_and_without_a_line(opt, tmp_path, lines):
    opt["train"]["scheduler"]["gamma"] = 0.3
    model = resumed(opt, tmp_path, total_iter=20)
    assert not [line for line in lines if "Resuming with" in line]
    assert model.get_current_learning_rate() == [0.01 * 0.3]


@pytest.mark.parametrize("scheduler", [None, COSINE], ids=["multistep", "cosine"])
def test_the_schedule_continues_after_the_warm_up(opt, scheduler):
    """Milestones within the warm-up count, too."""
    opt["train"]["scheduler"] = scheduler or {"type": "MultiStepLR", "milestones": [2, 5], "gamma": 0.5}
    expected = rates(build_model(copy.deepcopy(opt)), 1, 6)
    model, found = build_model(opt), []
    for k in range(1, 7):
        model.update_learning_rate(k, warmup_iter=4)
        found += model.get_current_learning_rate()
        model.optimizer_g.step()
    assert found == pytest.approx([0.0025, 0.005, 0.0075, *expected[3:]], rel=1e-12)


def test_a_warm_up_can_be_ended_on_resuming(opt, tmp_path):
    opt["path"]["resume_state"] = "1.state"
    model = build_model(opt)
    model.update_learning_rate(1, warmup_iter=4)
    model.save(0, 1)
    model.optimizer_g.step()
    model.resume_training(checkpoint.read_tensors(tmp_path / "training_states" / "1.state"))
    assert rates(model, 2, 2) == [0.01]


def test_an_end_before_total_iter_is_an_error(opt, tmp_path):
    model = build_model(opt)
    with pytest.raises(LIIFError, match="training ended after 0 of 6 iterations .*; lower batch_size_per_gpu"):
        model.save(-1, -1)
    assert not list((tmp_path / "models").iterdir())
    steps(model, 2)
    with pytest.raises(LIIFError, match="training ended after 2 of 6 iterations .*; resume with `python"):
        model.save(-1, -1)
    assert (tmp_path / "models" / "net_g_latest.pth").exists()
    steps(model, 6)
    model.save(-1, -1)


def train_pipeline(model, train_loader, total_iters, resume_state=None):
    """Build a model like BasicSR's function of this name, with the same variable names."""
    total_epochs = -(-total_iters // -(-len(train_loader.sampler) // train_loader.batch_size))
    return model(), total_epochs


class Loader:
    """Counts like a DataLoader with drop_last."""

    def __init__(self, samples, batch_size):
        self.sampler, self.batch_size = range(samples), batch_size

    def __len__(self):
        return len(self.sampler) // self.batch_size


@pytest.mark.parametrize(
    ("samples", "batch", "total", "resumed", "ends"),
    [
        (8, 16, 40, None, 0), (8, 5, 40, None, 21), (8, 4, 40, None, None), (1000, 3, 2000, None, None),
        (8, 5, 40, {"epoch": 10, "iter": 15}, 26),
    ],
)  # fmt: skip
def test_too_few_iterations_are_an_error_before_training(opt, samples, batch, total, resumed, ends):
    def build():
        return build_model(opt)

    if ends is None:
        train_pipeline(build, Loader(samples, batch), total, resumed)
        return
    with pytest.raises(LIIFError, match=f"would end after {ends} of {total} iterations"):
        train_pipeline(build, Loader(samples, batch), total, resumed)


def test_ema_decay_of_one_is_refused(opt):
    opt["train"]["ema_decay"] = 1
    with pytest.raises(LIIFError, match="train: ema_decay: "):
        build_model(opt)


def test_seeds_of_neighboring_runs_iterations_and_ranks_differ(opt, monkeypatch):
    drawn = set()
    monkeypatch.setattr(LIIFModel, "train_step", lambda model, iteration: drawn.add(torch.rand(()).item()))
    for seed in range(4):
        for rank in range(2):
            model = build_model({**copy.deepcopy(opt), "manual_seed": seed})
            model.opt.update(rank=rank, world_size=2)
            for iteration in range(1, 6):
                model.optimize_parameters(iteration)
    assert len(drawn) == 4 * 2 * 5
