"""A loss or gradient that is not finite ends the run, or its step is skipped and counted, on all ranks."""
import copy
import json
import math

import pytest
import torch
from bad_loss import train_badly
from basicsr.models import build_model
from experiment import assert_same_training, batch, steps, train_options
from faultsuite.kills import weights
from faultsuite.ranks import together

from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint


def bad_batch():
    data = batch()
    data["gt"][0] = math.nan
    return data


def unchanged(model, before):
    return all(torch.equal(value, before[key]) for key, value in model.net_g.state_dict().items())


def test_nonfinite_loss_ends_the_run(opt):
    model = build_model(opt)
    steps(model, 1)
    model.save(0, 9)
    model.save(0, 10)
    before = copy.deepcopy(model.net_g.state_dict())
    model.feed_data(bad_batch())
    said = r"iteration 11: the loss is not finite .*'image1.png'.*last good.*net_g_10.pth"
    with pytest.raises(LIIFError, match=said):
        model.optimize_parameters(11)
        model.get_current_log()  # numbers on a GPU are read one step late
    assert unchanged(model, before)


def test_nonfinite_network_is_not_saved(opt, tmp_path):
    model = build_model(opt)
    model.save(0, 1)
    with torch.no_grad():
        model.net_g.decoder.layers[0].bias[0] = math.inf
    with pytest.raises(LIIFError, match="decoder.layers.0.bias is not finite; .*net_g_1.pth"):
        model.save(0, 2)
    assert [p.name for p in tmp_path.rglob("*_2.*")] == []


@pytest.mark.parametrize("amp", [None, "bfloat16", "float16"])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # the scaler skips the first step
def test_nonfinite_gradient_ends_the_run(opt, amp):
    """Under float16, this happens once the scaler has reached its lowest scale."""
    opt["train"]["amp"] = amp
    model = build_model(opt)
    model.scaler = torch.amp.GradScaler(model.device.type, init_scale=4.0, enabled=amp == "float16")
    model.net_g.decoder.layers[0].weight.register_hook(lambda gradient: gradient * math.inf)
    before = copy.deepcopy(model.net_g.state_dict())
    steps(model, 2 if amp == "float16" else 0)
    with pytest.raises(LIIFError, match="iteration 1: the gradient is not finite on .*'image1.png'"):
        steps(model, 1)
    assert unchanged(model, before)


def test_bad_steps_are_skipped_and_counted_up_to_the_limit(opt, lines):
    opt["train"]["skip_nonfinite"] = 2
    model, clean = build_model(copy.deepcopy(opt)), build_model(copy.deepcopy(opt))
    clean.net_g.load_state_dict(model.net_g.state_dict())
    clean.model_ema(0)
    model.model_ema(0)
    for data in (batch(seed=1), bad_batch(), batch(seed=2), bad_batch()):
        steps(model, 1, data)
    assert model.get_current_log()["skipped"] == 2
    assert sum("iteration 1: the loss is not finite" in line and "step skipped" in line for line in lines) == 2
    with pytest.raises(LIIFError, match=r"the limit of 2 skipped steps \(train: skip_nonfinite\) is reached"):
        steps(model, 1, bad_batch())
    for data in (batch(seed=1), batch(seed=2)):
        steps(clean, 1, data)
    for name in ("net_g", "net_g_ema"):
        assert_same_training(getattr(model, name), getattr(clean, name))


@pytest.mark.parametrize("limit", [1, 0])
def test_the_count_continues_after_resuming(opt, tmp_path, limit):
    opt["train"]["skip_nonfinite"] = 1
    model = build_model(copy.deepcopy(opt))
    steps(model, 1, bad_batch())
    model.save(0, 1)
    opt["path"]["resume_state"] = "1.state"
    opt["train"]["skip_nonfinite"] = limit
    again = build_model(opt)
    again.resume_training(checkpoint.read_tensors(tmp_path / "training_states" / "1.state"))
    with pytest.raises(LIIFError, match=f"the limit of {limit} skipped steps "):
        steps(again, 1, bad_batch())


# Several processes ------------------------------------------------------------------------------------------


@pytest.fixture
def plain(images):
    opt = train_options(images, total_iter=8, save_every=100)
    opt["train"].update(pixel_opt={"type": "BadLoss"}, skip_nonfinite=2)
    return opt


def run(folder, opt, bad_steps, count):
    """Train with a bad loss in `count` processes, with the same global batch."""
    opt["datasets"]["train"]["batch_size_per_gpu"] = 4 // count
    return together(folder, opt, count, train_badly, BAD_STEPS=json.dumps(bad_steps))


def test_a_bad_loss_in_one_process_is_skipped_by_all(tmp_path, plain):
    """The loss is inf or NaN in one of two processes. One process that skips these steps ends with the same weights."""
    (alone,) = run(tmp_path / "one", plain, [[0, 3, "inf"], [0, 5, "nan"]], 1)
    ended = run(tmp_path / "two", plain, [[1, 3, "inf"], [0, 5, "nan"]], 2)
    assert [end.status for end in (alone, *ended)] == [0, 0, 0], alone.said + ended[0].said + ended[1].said
    assert "iteration 3: the loss is not finite (l_pix inf)" in ended[0].said
    assert "skipped: 2.0000e+00" in ended[0].said
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert max((two[key] - value).abs().max() for key, value in one.items()) < 1e-6


def test_a_bad_loss_in_one_process_ends_all_with_its_images(tmp_path, plain):
    plain["train"]["skip_nonfinite"] = 0
    for end in run(tmp_path / "two", plain, [[1, 3, "inf"]], 2):
        assert end.status == 2
        last = end.said.splitlines()[-1]
        assert last.startswith("liif_basicsr: error: iteration 3: the loss is not finite (l_pix inf) on [")
        assert ".png" in last and "the last good checkpoint: none yet" in last
