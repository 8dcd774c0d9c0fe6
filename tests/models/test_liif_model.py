"""LIIFModel in BasicSR: training steps, checkpoints and invalid options."""
import copy

import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.models.sr_model import SRModel
from experiment import NETWORK, assert_same_training, batch, steps
from torch.utils._python_dispatch import TorchDispatchMode

import liif_basicsr
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint

# Training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amp", [None, "bfloat16"])
def test_steps_lower_the_loss(opt, amp):
    opt["train"].update(amp=amp, scheduler={"type": "MultiStepLR", "milestones": []})
    losses = steps(build_model(opt), 30)
    assert losses[-1] < 0.5 * losses[0]


def test_amp_runs_in_its_precision(opt):
    opt["train"]["amp"] = "bfloat16"
    model = build_model(opt)
    steps(model, 1)
    assert all(p.dtype == torch.float32 for p in model.net_g.parameters())
    feat = []
    model.net_g.encoder.register_forward_hook(lambda module, inputs, output: feat.append(output.dtype))
    steps(model, 1)
    assert feat == [torch.bfloat16]


@pytest.mark.cpu
@pytest.mark.parametrize(("has_bfloat16", "auto", "warnings"), [(True, "bfloat16", 0), (False, "float32", 2)])
def test_amp_depends_on_the_processor(
    opt, monkeypatch, caplog, has_bfloat16, auto, warnings
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bfloat16, raising=False)
    for amp in ("auto", "bfloat16"):
        opt["train"]["amp"] = opt["val"]["amp"] = amp
        model = build_model(opt)
        expected = auto if amp == "auto" else amp
        assert (model.precision, model.val_precision) == (expected, expected)
    warned = [record.message for record in caplog.records if "no instructions for bfloat16" in record.message]
    assert [line.split(": this")[0] for line in warned] == ["train: amp", "val: amp"][:warnings]


def test_a_step_is_adam_on_the_official_loss(opt):
    """Compare 20 steps with plain torch, which uses L1 on the normalized range and Adam's defaults."""
    opt["train"]["scheduler"]["milestones"] = []
    model = build_model(opt)
    net = copy.deepcopy(model.net_g)
    adam, plain = torch.optim.Adam(net.parameters(), lr=0.01), []
    for k in range(20):
        data = batch(seed=k)
        loss = ((net(data["lq"], data["coord"], data["cell"]) - 0.5) / 0.5 - (data["gt"] - 0.5) / 0.5).abs().mean()
        plain.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    ours = [steps(model, 1, batch(seed=k))[0] for k in range(20)]
    assert ours == pytest.approx(plain, rel=1e-4)


def test_the_moving_average_is_validated(opt, images):
    model = build_model(opt)
    before = copy.deepcopy(model.net_g.state_dict())
    steps(model, 1)
    for key, value in model.net_g_ema.state_dict().items():
        assert torch.allclose(value, 0.9 * before[key] + 0.1 * model.net_g.state_dict()[key], atol=1e-7)
    lq = torch.rand(1, 3, 4, 5)
    model.feed_data({"lq": lq})
    model.test((9, 7))
    assert torch.equal(model.output, model.net_g_ema.render(lq, (9, 7)))
    assert model.net_g.training


@pytest.mark.parametrize("kind", ["training", "validation"])
def test_a_batch_is_copied_to_the_device_once_and_without_waiting(opt, kind):
    """Copies from pinned memory must not block. The device `meta` simulates a GPU."""
    model, copies = build_model(opt), []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._to_copy.default:
                copies.append(kwargs)
            return function(*args, **kwargs or {})

    model.device = torch.device("meta")
    data = batch() if kind == "training" else {"lq": torch.rand(1, 3, 4, 5), "gt": torch.rand(1, 3, 8, 10)}
    with Copies():
        model.feed_data(data)
    assert len(copies) == sum(isinstance(value, torch.Tensor) for value in data.values())
    assert all(made["device"].type == "meta" and made["non_blocking"] for made in copies)
    assert {tensor.device.type for tensor in model.batch.values() if isinstance(tensor, torch.Tensor)} == {"meta"}


def test_the_loader_pins_memory_where_the_options_say_so(opt):
    for pinned in (False, True):
        block = {**opt["datasets"]["train"], "phase": "train", "pin_memory": pinned}
        loader = build_dataloader(build_dataset(block), block, num_gpu=0, sampler=None, seed=0)
        assert loader.pin_memory is pinned


# Checkpoints ------------------------------------------------------------------------------------------------


def test_a_checkpoint_loads_everywhere(opt, tmp_path):
    model = build_model(opt)
    steps(model, 2)
    model.save(0, 2)
    path = tmp_path / "models" / "net_g_2.pth"
    lq = torch.rand(1, 3, 5, 6)
    for key, source in (("params_ema", model.net_g_ema), ("params", model.net_g)):
        loaded = liif_basicsr.load(path, key).to(lq.device)
        assert torch.equal(loaded.render(lq, (9, 9)), source.render(lq, (9, 9)))
    for key, source in (("params", model.net_g), ("params_ema", model.net_g_ema)):
        other = liif_basicsr.archs.build_network(NETWORK)
        SRModel.load_network(model, other, str(path), True, key)  # BasicSR's own
        assert all(torch.equal(value, source.state_dict()[name]) for name, value in other.state_dict().items())


def test_a_state_brings_back_everything(opt, tmp_path):
    opt["val"]["metrics"] = {"psnr": {"type": "calculate_psnr_liif"}}
    opt["train"]["amp"] = "float16"
    model = build_model(opt)
    model.scaler = torch.amp.GradScaler(model.device.type, init_scale=8.0)
    model.best_metric_results = {"A_x2": {"psnr": {"better": "higher", "val": 30.0, "iter": 2}}}
    steps(model, 3)
    model.save(0, 3)
    opt["path"].update(pretrain_network_g=str(tmp_path / "models" / "net_g_3.pth"), resume_state="3.state")
    again = build_model(opt)
    again.resume_training(checkpoint.read_tensors(tmp_path / "training_states" / "3.state"))
    assert again.scaler.get_scale() == 8
    assert again.best_metric_results == model.best_metric_results
    assert again.get_current_learning_rate() == model.get_current_learning_rate()
    for one in (model, again):
        one.update_learning_rate(4)
        one.feed_data(batch(seed=4))
        one.optimize_parameters(4)
    for name in ("net_g", "net_g_ema"):
        assert_same_training(getattr(again, name), getattr(model, name))


# Invalid options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "change", "message"),
    [
        ("train", {"ema_deccay": 0.9}, "train: unknown option 'ema_deccay'; did you mean 'ema_decay'"),
        ("train", {"amp": "float8"}, "train: amp: expected one of auto, tf32, bfloat16, float16, got 'float8'"),
        ("train", {"amp": [1]}, r"train: amp: expected one of auto, tf32, bfloat16, float16, got \[1\]"),
        ("train", {"total_iter": "many"}, "train: total_iter: expected an integer of at least 1"),
        ("train", {"optim_g": {"type": "Adamm", "lr": 1}}, "train: optim_g: .*Adamm"),
        ("train", {"optim_g": {"type": "Adam", "lr": "fast"}}, "train: optim_g: "),
        ("train", {"optim_g": {"lr": 1}}, "train: optim_g: option 'type' is missing"),
        ("train", {"scheduler": {"type": "Cosine"}}, "train: scheduler: .*Cosine"),
        ("train", {"scheduler": {"type": "MultiStepLR", "mile": [1]}}, "train: scheduler: .*mile"),
        ("train", {"pixel_opt": {"type": "L3Loss"}}, "train: pixel_opt: type: .*'L3Loss'; did you mean 'L1Loss'"),
        ("train", {"pixel_opt": None}, "train: expected at least one loss; set pixel_opt"),
        ("val", {"save_image": True}, "val: unknown option 'save_image'; did you mean 'save_img'"),
        ("val", {"pbar": 1}, "val: pbar: expected true or false, got 1"),
        ("val", {"metrics": {"p": {"type": "calculate_psnr_lif"}}}, "val: metrics: p: .*mean 'calculate_psnr_liif'"),
        ("val", {"metrics": {"p": "calculate_psnr"}}, "val: metrics: p: expected a block of options"),
        ("val", {"metrics": [1]}, r"val: metrics: expected a block of options, got \[1\]"),
        ("path", {"pretrained_network_g": "x"}, "path: unknown option .*mean 'pretrain_network_g'"),
        ("train", {"skip_nonfinite": -1}, "train: skip_nonfinite: expected an integer of at least 0"),
        ("logger", {"keep_checkpoint": 3}, "logger: unknown option .*mean 'keep_checkpoints'"),
        ("logger", {"keep_checkpoints": 0}, "logger: keep_checkpoints: expected an integer of at least 1, got 0"),
        ("logger", {"keep_checkpoint_freq": 10}, "keep_checkpoint_freq: needs keep_checkpoints"),
        ("network_g", {"type": "LIFF"}, "network_g: unknown architecture 'LIFF'; did you mean 'LIIF'"),
        ("network_g", {"hidden_dim": [3]}, "network_g: unknown option 'hidden_dim'; did you mean 'hidden_dims'"),
        ("network_g", {"type": ["LIIF"]}, r"network_g: unknown architecture \['LIIF'\]"),
        ("network_g", {"encoder": {"type": "EDSR", "num_feat": 3.7}}, "network_g: "),
        ("path", {"pretrain_network_g": "none.pth"}, "model 'none.pth': no such file"),
    ],
    ids=str,
)
def test_invalid_options(opt, block, change, message):
    opt[block] = {**opt[block], **change}
    with pytest.raises(LIIFError, match=message):
        build_model(opt)


@pytest.mark.parametrize("key", ["val_freq", "save_img"])
def test_val_requires_the_options_that_basicsr_reads(opt, key):
    opt["val"] = {name: value for name, value in opt["val"].items() if name != key}
    with pytest.raises(LIIFError, match=f"val: option '{key}' is missing"):
        build_model(opt)


def test_a_network_without_coordinates_is_reported(opt):
    opt["network_g"] = {"type": "MSRResNet", "num_feat": 2, "num_block": 1}
    says = "network_g: LIIFModel needs a network that can be queried at coordinates, but MSRResNet cannot"
    with pytest.raises(LIIFError, match=says):
        build_model(opt)


def test_a_state_of_another_network_is_reported(opt):
    opt["path"]["resume_state"] = "5.state"
    optimizer = {"state": {}, "param_groups": [{"params": [0]}]}
    state = {"epoch": 0, "iter": 5, "optimizers": [optimizer], "schedulers": [{}]}
    with pytest.raises(LIIFError, match="5.state: does not fit this network"):
        build_model(opt).resume_training(state)
