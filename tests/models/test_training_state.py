"""Training states that do not fit the run are refused when it resumes."""
import math

import pytest
import torch
from basicsr.models import build_model
from experiment import make_images, model_options, steps

from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, and a state of it after two steps."""
    folder = tmp_path_factory.mktemp("run")
    opt = model_options(folder, make_images(folder / "images", 3, (32, 36)))
    model = build_model(opt)
    steps(model, 2)
    model.best_metric_results = {"A_x2": {"psnr": {"better": "higher", "val": 30.0, "iter": 2}}}
    model.save(0, 2)
    model.opt["path"]["resume_state"] = "2.state"
    return model, folder / "training_states" / "2.state"


@pytest.fixture
def state(saved):
    return checkpoint.read_tensors(saved[1])


def moments(state, index=0):
    return state["optimizers"][0]["state"][index]


def group(state):
    return state["optimizers"][0]["param_groups"][0]


CHANGES = {
    "its iteration is 7, but total_iter is 6; raise it": lambda state: state.update(iter=7),
    "optimizers": lambda state: state.update(optimizers=[]),
    "optimizer": lambda state: state.update(optimizers=[3]),
    "param_groups": lambda state: state["optimizers"][0].pop("param_groups"),
    "lr: expected a value like": lambda state: group(state).update(lr="fast"),
    "lr is missing": lambda state: group(state).pop("lr"),
    "param_groups: lr: expected a value like": lambda state: group(state).update(lr=math.nan),
    "amsgrad": lambda state: group(state).update(amsgrad="yes"),
    "betas": lambda state: group(state).update(betas=[0.9, "x"]),
    "moments of parameter 0: exp_avg does not fit": lambda state: moments(state).update(exp_avg=torch.zeros(7)),
    "moments of parameter 1: exp_avg_sq does not fit": lambda state: moments(state, 1).update(exp_avg_sq=2.5),
    "moments of parameter 2: exp_avg does not fit": lambda state: moments(state, 2)["exp_avg"].fill_(math.inf),
    "moments of parameter 3: step does not fit": lambda state: moments(state, 3).update(step=-1),
    "moments of parameter 1: its entries differ from the first parameter's":
        lambda state: moments(state, 1).pop("exp_avg"),
    "moments of parameter 99": lambda state: state["optimizers"][0]["state"].update({99: moments(state)}),
    "moments of parameter x": lambda state: state["optimizers"][0]["state"].update(x=moments(state)),
    "scheduler": lambda state: state.update(schedulers=[None]),
    "last_epoch": lambda state: state["schedulers"][0].pop("last_epoch"),
    "milestones": lambda state: state["schedulers"][0].update(milestones={"3": 1}),
    "base_lrs": lambda state: state["schedulers"][0].update(base_lrs=["x"]),
    "best_metric_results": lambda state: state.update(best_metric_results=3),
    "best_metric_results: A_x2: psnr: iter": lambda state: state["best_metric_results"]["A_x2"]["psnr"].pop("iter"),
    "skipped_steps: expected an integer of at least 0": lambda state: state.update(skipped_steps=-1),
}


@pytest.mark.parametrize(("message", "change"), CHANGES.items(), ids=CHANGES)
def test_invalid_states(saved, state, message, change):
    change(state)
    with pytest.raises(LIIFError, match="^2.state: does not fit this network and its train options: ") as caught:
        saved[0].resume_training(state)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_valid_state_is_loaded(saved, state):
    """The state may lack the plugin's own entries, and contain entries of another version of torch."""
    for key in ("scaler", "best_metric_results", "skipped_steps"):
        del state[key]
    group(state).pop("amsgrad")
    state["schedulers"][0].update(optimizer="x", _of_a_later_torch=3)
    saved[0].resume_training(state)
    assert not hasattr(saved[0].schedulers[0], "_of_a_later_torch")
    steps(saved[0], 1)
