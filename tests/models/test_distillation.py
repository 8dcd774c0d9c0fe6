"""Distillation and fine-tuning in BasicSR: the loss to a teacher, frozen parts, the encoder's learning rate."""
import copy

import pytest
import torch
from basicsr.models import build_model
from experiment import NETWORK, assert_same_training, batch

from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.models.self_ensemble import transform
from liif_basicsr.rendering.orientation import ORIENTATIONS


@pytest.fixture
def teacher(tmp_path):
    torch.manual_seed(5)
    net = build_network({**NETWORK, "hidden_dims": [6, 6]}).eval()
    path = tmp_path / "teacher.pth"
    checkpoint.save(path, {"params": net.state_dict(), "network_g": {**NETWORK, "hidden_dims": [6, 6]}})
    return str(path), net


def step(model, data, iteration=1):
    model.update_learning_rate(iteration)
    model.feed_data(data)
    model.optimize_parameters(iteration)
    return model.get_current_log()


@pytest.mark.parametrize("alone", [False, True], ids=["with ground truth", "alone"])
def test_the_loss_is_l1_to_the_teacher_at_the_same_coordinates(opt, teacher, alone):
    path, net = teacher
    opt["train"]["teacher"] = {"path": path, "weight": 0.5}
    if alone:
        opt["train"]["pixel_opt"] = None
    model, data = build_model(opt), batch()
    query = data["lq"], data["coord"], data["cell"]
    with torch.no_grad():
        expected = 0.5 * (model.net_g(*query) - net(*query)).abs().mean()
    log = step(model, data)
    assert log["l_teacher"] == pytest.approx(expected.item(), rel=1e-5)
    assert ("l_pix" in log) != alone


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_transformed_coordinates_are_at_the_same_positions(orientation):
    net = build_network({"type": "ContinuousShuffleSR", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1}})
    with torch.no_grad():
        net.decoder.conv_last.weight.zero_()
        net.decoder.conv_last.bias.zero_()  # the output is the bilinearly upsampled input, in any orientation
    lq, coord, cell = torch.rand(2, 3, 5, 7), torch.rand(2, 30, 2) * 2 - 1, torch.tensor([[[0.1, 0.05]]] * 2)
    torch.testing.assert_close(net(*transform(lq, coord, cell, orientation)), net(lq, coord, cell))
    turned = transform(lq, coord, cell, orientation)[2]
    assert torch.equal(turned, cell.flip(-1) if orientation.transpose else cell)


def test_self_ensemble_of_eight_is_the_mean_over_all_orientations(opt, teacher):
    path, net = teacher
    opt["train"]["teacher"] = {"path": path, "self_ensemble": 8}
    data = batch()
    query = data["lq"], data["coord"], data["cell"]
    with torch.no_grad():
        expected = torch.stack([net(*transform(*query, one)) for one in ORIENTATIONS]).mean(0)
    torch.testing.assert_close(build_model(opt).teacher(*query), expected)


def test_training_with_a_teacher_alone(opt, teacher):
    path, net = teacher
    opt["train"].update(teacher={"path": path}, pixel_opt=None, scheduler={"type": "MultiStepLR", "milestones": []})
    model = build_model(opt)
    losses = [step(model, batch(seed=k % 3), k + 1)["l_teacher"] for k in range(40)]
    assert losses[-1] < 0.4 * losses[0]
    assert not any(param.requires_grad for param in model.teacher.parameters())


def test_frozen_parts_do_not_change(opt):
    opt["train"]["freeze"] = ["encoder"]
    model = build_model(opt)
    before = copy.deepcopy(model.net_g.state_dict())
    step(model, batch())
    for name, value in model.net_g.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("encoder."), name


def test_encoder_lr_mul_holds_along_the_schedule(opt):
    opt["train"]["optim_g"]["encoder_lr_mul"] = 0.25
    model = build_model(opt)
    encoder = {id(param) for param in model.net_g.encoder.parameters()}
    rates = []
    for iteration in range(1, 6):
        step(model, batch(), iteration)
        rest, own = model.optimizer_g.param_groups
        assert {id(param) for param in own["params"]} == encoder
        assert own["lr"] == pytest.approx(rest["lr"] / 4)
        rates.append(own["lr"])
    assert rates[-1] < rates[0]


def test_resuming_with_a_teacher_and_frozen_parts(opt, teacher):
    opt["train"].update(teacher={"path": teacher[0]}, freeze=["decoder.layers.0"])
    opt["train"]["optim_g"]["encoder_lr_mul"] = 0.5
    opt["path"]["resume_state"] = "1.state"
    first = build_model(copy.deepcopy(opt))
    step(first, batch())
    state = {"epoch": 0, "iter": 1, "optimizers": [first.optimizer_g.state_dict()],
             "schedulers": [first.schedulers[0].state_dict()]}  # fmt: skip
    second = build_model(opt)
    second.net_g.load_state_dict(first.net_g.state_dict())
    second.resume_training(copy.deepcopy(state))
    for model in (first, second):
        model.feed_data(batch(seed=1))
        model.optimize_parameters(2)
    assert_same_training(first.net_g, second.net_g)


@pytest.mark.parametrize(("train", "says"), [
    ({"teacher": {"path": "no.pth"}}, "train: teacher: path: model 'no.pth': no such file"),
    ({"teacher": {"paths": "liif-fast"}}, "train: teacher: unknown option 'paths'; did you mean 'path'"),
    ({"teacher": {"path": "liif-fast", "weight": -1}}, "train: teacher: weight: expected a number of at least 0"),
    ({"teacher": "liif-fast"}, "train: teacher: expected a block"),
    ({"freeze": ["encodr"]}, "train: freeze: the network has no module 'encodr'; did you mean 'encoder'"),
    ({"freeze": "encoder"}, "train: freeze: expected a list"),
    ({"freeze": ["encoder", "decoder"]}, "leaves nothing to train; remove a name"),
    ({"optim_g": {"type": "Adam", "lr": 0.1, "encoder_lr_mul": "1e-1"}}, "encoder_lr_mul: expected a number"),
    ({"freeze": ["encoder"], "optim_g": {"type": "Adam", "lr": 0.1, "encoder_lr_mul": 0.1}},
     "encoder_lr_mul: no encoder is trained"),
])  # fmt: skip
def test_invalid_options(opt, train, says):
    opt["train"].update(train)
    with pytest.raises(LIIFError) as error:
        build_model(opt)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_teacher_needs_a_dataset_with_coordinates(opt):
    opt["train"]["teacher"] = {"path": "liif-fast"}
    opt["datasets"]["train"] = {"name": "pairs", "type": "PairedImageDataset"}
    with pytest.raises(LIIFError, match="needs coordinates, but a dataset of type PairedImageDataset does not return"):
        build_model(opt)
