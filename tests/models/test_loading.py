"""Checkpoints that do not match the options: other arguments of the network, other parameters, another key."""
import copy

import pytest
import torch
from basicsr.models import build_model
from experiment import NETWORK, steps

from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint


@pytest.fixture
def saved(tmp_path):
    """Save a network with these arguments and return its path."""

    def save(keys=("params",), **changes):
        block = {**NETWORK, **changes}
        params = build_network(block).state_dict()
        path = str(tmp_path / "pretrained.pth")
        checkpoint.save(path, {**dict.fromkeys(keys, params), "network_g": block})
        return path

    return save


CHANGES = [
    ({"input_skip": None}, "network_g: input_skip: .* was trained with None, but the options have 'bilinear'"),
    ({"local_ensemble": False}, "local_ensemble: .* trained with False, but the options have True; set local_ensemble"),
    ({"encoder": {**NETWORK["encoder"], "res_scale": 0.5}},
     "network_g: encoder: res_scale: .* was trained with 0.5, but the options have 1.0"),
    ({"encoder": {**NETWORK["encoder"], "num_feat": 6}},
     "network_g: encoder: num_feat: .* was trained with 6, but the options have 4"),
    ({"hidden_dims": [6]}, r"network_g: hidden_dims: .* was trained with \[6\], but the options have \[8\]"),
    ({"type": "MetaSR", "hidden_dims": None}, "network_g: type: .* trained with 'MetaSR', but the options have 'LIIF'"),
]


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize(("changes", "message"), CHANGES, ids=[str(list(change)) for change, _ in CHANGES])
def test_other_arguments_than_in_the_checkpoint_are_an_error(opt, changes, message, is_train):
    block = {**NETWORK, **changes}
    if block["hidden_dims"] is None:
        del block["hidden_dims"]
    path = opt["path"]["pretrain_network_g"] = opt["path"]["models"] + "/pretrained.pth"
    checkpoint.save(path, {"params": build_network(block).state_dict(), "network_g": block})
    opt["is_train"] = is_train
    with pytest.raises(LIIFError, match=message):
        build_model(opt)


def test_a_safetensors_file(opt, tmp_path):
    net = build_network(NETWORK)
    path = opt["path"]["pretrain_network_g"] = str(tmp_path / "net.safetensors")
    checkpoint.save(path, {"params": net.state_dict(), "network_g": NETWORK})
    loaded = build_model(opt).net_g.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in net.state_dict().items())
    opt["network_g"] = {**opt["network_g"], "input_skip": None}
    with pytest.raises(LIIFError, match="network_g: input_skip: .*net.safetensors was trained with 'bilinear'"):
        build_model(opt)


@pytest.mark.parametrize("given", [True, False])
def test_testing_random_weights_is_a_warning(opt, saved, lines, given):
    opt["is_train"] = False
    opt["path"]["pretrain_network_g"] = saved() if given else None
    build_model(opt)
    assert any("path: pretrain_network_g: not set" in line for line in lines) != given


def test_defaults_are_filled_in_before_the_comparison(opt, saved):
    opt["path"]["pretrain_network_g"] = saved(local_ensemble=True, feat_unfold=True)
    opt["network_g"] = {**opt["network_g"], "cell_decode": True}
    build_model(opt)


def test_another_scale_is_a_warning(opt, saved, lines):
    opt["path"]["pretrain_network_g"] = saved(scale=2)
    build_model(opt)
    text = "\n".join(lines)
    assert "network_g: scale: " in text and "was trained with 2, but the options have 4" in text


def test_other_arguments_are_an_error_on_resuming(opt, tmp_path):
    model = build_model(copy.deepcopy(opt))
    steps(model, 1)
    model.save(0, 1)
    opt["network_g"] = {**opt["network_g"], "input_skip": None}
    opt["path"].update(resume_state="1.state", pretrain_network_g=str(tmp_path / "models" / "net_g_1.pth"))
    with pytest.raises(LIIFError, match="network_g: input_skip"):
        build_model(opt)


def test_parameters_left_out_are_logged(opt, saved, lines):
    opt["path"].update(pretrain_network_g=saved(hidden_dims=[6]), strict_load_g=False)
    before = build_model(opt).net_g.encoder.state_dict()
    text = "\n".join(lines)
    assert "3 parameters do not match the network's in name or shape" in text and "the network has 12)" in text
    assert "decoder.layers." in text and "hidden_dims" in text
    params = checkpoint.read(opt["path"]["pretrain_network_g"])["params"]
    assert all(torch.equal(value.cpu(), params[f"encoder.{key}"]) for key, value in before.items())


def test_a_checkpoint_without_any_fitting_parameter_is_an_error(opt, tmp_path):
    path = str(tmp_path / "other.pth")
    checkpoint.save(path, {"params": {"weight": torch.zeros(3)}})
    opt["path"].update(pretrain_network_g=path, strict_load_g=False)
    with pytest.raises(LIIFError, match="no parameter fits in name and shape"):
        build_model(opt)


def test_the_key_used_is_logged(opt, saved, lines):
    opt["path"].update(pretrain_network_g=saved(), param_key_g="params_ema")
    build_model(opt)
    assert "has no params_ema; params is used instead" in "\n".join(lines)
    assert any("with param key: [params]" in line for line in lines)
