"""LIIFGANModel in BasicSR: SRGANModel's step at any scale, checkpoints, resuming and invalid options."""
from __future__ import annotations

import copy

import pytest
import torch
from basicsr.losses import build_loss
from basicsr.models import build_model
from conftest import DEVICE
from experiment import NETWORK, launch, make_images, train_options, write_options

from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.models.losses import as_images
from liif_basicsr.rendering.coordinates import make_cell, make_coord

SIDE = 16
DISCRIMINATOR = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4}
TRAIN = {
    "optim_d": {"type": "Adam", "lr": 0.01},
    "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "real_label_val": 1.0, "fake_label_val": 0.0,
                "loss_weight": 0.1},
}  # fmt: skip


def as_gan(opt):
    """Options of a training run with a discriminator."""
    opt = copy.deepcopy(opt)
    opt.update(model_type="LIIFGANModel", network_d=copy.deepcopy(DISCRIMINATOR))
    opt["train"].update(copy.deepcopy(TRAIN))
    opt["datasets"]["train"].update(sample="patch", sample_q=SIDE**2, lq_size=SIDE)
    return opt


@pytest.fixture
def gan(opt):
    return as_gan(opt)


def windows(seed=0):
    torch.manual_seed(seed)
    coord = make_coord((SIDE, SIDE)).expand(2, -1, -1)
    cell = make_cell((SIDE, SIDE)).expand(2, 1, 2)
    return {"lq": torch.rand(2, 3, 8, 8), "coord": coord, "cell": cell, "gt": torch.rand(2, SIDE**2, 3),
            "gt_path": ["a", "b"]}  # fmt: skip


def step(model, iteration=1, seed=0):
    model.feed_data(windows(seed))
    model.optimize_parameters(iteration)
    return model.get_current_log()


def test_a_step_equals_srganmodels(gan):
    """Compare the losses and gradients of both networks with BasicSR's step, which is written out here."""
    model, data = build_model(gan), windows()
    net_g, net_d = copy.deepcopy(model.net_g), copy.deepcopy(model.net_d)
    log = step(model)
    criterion = build_loss(copy.deepcopy(TRAIN["gan_opt"]))
    output, gt = as_images(net_g(data["lq"], data["coord"], data["cell"])), as_images(data["gt"])
    net_d.requires_grad_(False)
    expected = {"l_pix": 2 * (output - gt).abs().mean(), "l_g_gan": criterion(net_d(output), True, is_disc=False)}
    sum(expected.values()).backward()
    net_d.requires_grad_(True)
    for name, images in (("real", gt), ("fake", output.detach())):
        judged = net_d(images)
        expected[f"l_d_{name}"] = criterion(judged, name == "real", is_disc=True)
        expected[f"l_d_{name}"].backward()
        expected[f"out_d_{name}"] = judged.mean()
    assert log.keys() == expected.keys()
    for name, value in expected.items():
        assert log[name] == pytest.approx(value.item(), rel=1e-4, abs=1e-6), name
    for own, plain in ((model.net_g, net_g), (model.net_d, net_d)):
        for a, b in zip(own.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-6)


def test_the_generator_waits_for_the_discriminator(gan):
    gan["train"].update(net_d_iters=2, net_d_init_iters=2)
    model = build_model(gan)
    for iteration, learns in ((1, False), (2, False), (3, False), (4, True)):
        before = [copy.deepcopy(net.state_dict()) for net in (model.net_g, model.net_d)]
        log = step(model, iteration)
        changed = [any(not torch.equal(old[k], v) for k, v in net.state_dict().items())
                   for old, net in zip(before, (model.net_g, model.net_d), strict=True)]  # fmt: skip
        assert changed == [learns, True]
        assert ("l_g_gan" in log) == learns


def test_the_discriminator_stays_in_float32_under_amp(gan):
    gan["train"]["amp"] = "bfloat16"
    model, seen = build_model(gan), {}
    for name, layer in (("net_g", model.net_g.encoder), ("net_d", model.net_d.conv1)):
        layer.register_forward_hook(lambda layer, args, output, name=name: seen.update({name: output.dtype}))
    step(model)
    assert seen == {"net_g": torch.bfloat16, "net_d": torch.float32}


@pytest.mark.parametrize("model_type", ["LIIFGANModel", "SRGANModel", "ESRGANModel"])
def test_discriminators_that_view_their_features(gan, model_type):
    """VGGStyleDiscriminator calls `view` on its features, which must be contiguous for a batch of two."""
    gan["network_d"] = {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 2, "input_size": 128}
    gan["datasets"]["train"].update(sample_q=128**2, lq_size=128)
    gan["model_type"] = model_type
    if model_type != "LIIFGANModel":
        gan["path"].update(strict_load_g=True)
    model = build_model(gan)
    if model_type == "LIIFGANModel":
        data = {"lq": torch.rand(2, 3, 32, 32), "coord": make_coord((128, 128)).expand(2, -1, -1),
                "cell": make_cell((128, 128)).expand(2, 1, 2), "gt": torch.rand(2, 128**2, 3)}  # fmt: skip
    else:  # networks without coordinates render at their own scale, 4
        data = {"lq": torch.rand(2, 3, 32, 32), "gt": torch.rand(2, 3, 128, 128)}
    model.feed_data(data)
    model.optimize_parameters(1)
    assert "l_d_fake" in model.get_current_log()


@pytest.mark.parametrize("which", ["net_g", "net_d"])
def test_a_number_that_is_not_finite_stops_both(gan, which):
    model = build_model(gan)
    before = copy.deepcopy(model.net_g.state_dict())
    with torch.no_grad():
        next(getattr(model, which).parameters()).fill_(torch.nan if which == "net_d" else torch.inf)
    with pytest.raises(LIIFError, match="iteration 1: the loss is not finite"):
        step(model)
        model.get_current_log()  # numbers on a GPU are read one step late
    if which == "net_d":
        assert all(torch.equal(before[key], value) for key, value in model.net_g.state_dict().items())


def test_it_writes_both_networks_and_their_blocks(gan):
    model = build_model(gan)
    model.save(0, 7)
    folder = gan["path"]["models"]
    assert checkpoint.read(f"{folder}/net_g_7.pth")["network_g"] == NETWORK
    written = checkpoint.read_tensors(f"{folder}/net_d_7.pth")
    assert written["network_d"] == DISCRIMINATOR
    assert written["params"].keys() == model.net_d.state_dict().keys()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("data") / "images", 4, (40, 44))


def final(folder):
    models = folder / "experiments" / "tiny" / "models"
    tensors = {}
    for label, key in (("g", "params"), ("g", "params_ema"), ("d", "params")):
        data = checkpoint.read_tensors(models / f"net_{label}_latest.pth")
        tensors |= {(label, key, name): value for name, value in data[key].items()}
    return tensors


def gan_options(photos, **changes):
    opt = as_gan(train_options(photos, total_iter=8, save_every=4))
    opt["datasets"]["train"].update(scale_range=[1, 2], batch_size_per_gpu=2, **changes)
    return opt


def test_a_resumed_run_ends_with_the_same_weights(tmp_path, photos):
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
        path = write_options(tmp_path / name / "options.yml", gan_options(photos))
        launch("train", path, gpu=True)
        if name == "resumed":  # as if it had been killed after its fourth iteration
            states = tmp_path / name / "experiments" / "tiny" / "training_states"
            (states / "8.state").unlink()
            assert "Resuming training from epoch" in launch("train", path, "--auto_resume", gpu=True)
    whole, resumed = final(tmp_path / "whole"), final(tmp_path / "resumed")
    for key, value in whole.items():
        # Sums on a GPU have no fixed order.
        torch.testing.assert_close(resumed[key], value, rtol=0, atol=1e-3 if DEVICE == "cuda" else 0)


def test_two_processes_equal_one(tmp_path, photos):
    results = []
    for processes in (0, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        opt = gan_options(photos)
        opt["datasets"]["train"]["batch_size_per_gpu"] = 1 if processes else 2
        launch("train", write_options(folder / "options.yml", opt), processes=processes)
        results.append(final(folder))
    one, two = results
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=2e-4)  # eight steps of Adam move a weight by 0.05


@pytest.mark.parametrize(("change", "says"), [
    ({"network_d": {"type": "UNetDiscriminatorSM"}}, "network_d: unknown architecture 'UNetDiscriminatorSM'"),
    ({"network_d": None}, "network_d: expected a block of options, got None"),
    ({"network_d": {**DISCRIMINATOR, "num_feats": 3}}, "network_d: "),
    ({"network_d": {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 4}},
     "network_d: does not accept windows of 16x16 pixels (datasets: train: sample_q)"),
    ({"network_d": {**DISCRIMINATOR, "num_in_ch": 4}},
     "network_d: num_in_ch is 4, but network_g returns 3 channels; set num_in_ch: 3"),
    ({"datasets": {"sample": "pixels"}}, "set datasets: train: sample: patch"),
    ({"train": {"gan_opt": {"type": "GANLoss", "gan_type": "vanila"}}}, "train: gan_opt: GAN type vanila"),
    ({"train": {"optim_d": {"type": "Adam", "lr": "1e-4"}}}, "train: optim_d: lr: expected a number"),
    ({"train": {"net_d_iters": 0}}, "train: net_d_iters: expected an integer of at least 1"),
    ({"path": {"pretrain_network_d": "no.pth"}}, "path: pretrain_network_d: model 'no.pth': no such file"),
])  # fmt: skip
def test_invalid_options(gan, change, says):
    for key, value in change.items():
        if key == "network_d":
            gan[key] = value
        else:
            target = gan["datasets"]["train"] if key == "datasets" else gan[key]
            target.update(value)
    with pytest.raises(LIIFError) as error:
        build_model(gan)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
