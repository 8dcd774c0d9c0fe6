"""Official checkpoints are converted to ours and back, and reproduce the official PSNR."""
import os
from pathlib import Path

import pytest
import torch

from liif_basicsr.__main__ import main
from liif_basicsr.archs import build_network
from liif_basicsr.cli.convert import compact
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.hub.official import from_official, to_official

NETWORKS = {
    "edsr": {"type": "LIIF", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 2}, "hidden_dims": [6, 5]},
    "edsr, switches off": {
        "type": "LIIF", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1}, "hidden_dims": [6],
        "local_ensemble": False, "feat_unfold": False, "cell_decode": False,
    },
    "rdn": {"type": "LIIF", "encoder": {"type": "RDN", "num_feat": 2, "num_block": 20, "num_layer": 6,
                                        "num_grow_ch": 32}, "hidden_dims": [6]},
    "rcan": {"type": "LIIF", "encoder": {"type": "RCAN", "num_feat": 16, "num_group": 2, "num_block": 1},
             "hidden_dims": [6]},
    "metasr": {"type": "MetaSR", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1}},
    "lte": {"type": "LTE", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1}, "hidden_dims": [6, 5],
            "num_freq": 3},
    "lmliif": {"type": "LMLIIF", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1}, "latent_dims": [6, 7],
               "render_dim": 5, "render_depth": 2},
    "srno": {"type": "SRNO", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1}, "width": 6, "num_heads": 2},
    "lmliif, switches off": {
        "type": "LMLIIF", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1}, "latent_dims": [6],
        "render_dim": 5, "render_depth": 3, "local_ensemble": False, "feat_unfold": False, "cell_decode": False,
        "mod_input": False, "mod_shift": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_to_official_and_back_is_the_same_network(network, tmp_path):
    net = build_network(network)
    official = to_official({"network_g": network, "params": net.state_dict()})
    torch.save(official, tmp_path / "official.pth")
    again = checkpoint.load(tmp_path / "official.pth")
    lq = torch.rand(1, 3, 5, 6)
    assert torch.equal(again.render(lq, (11, 13)), net.render(lq, (11, 13)))


def test_official_parameter_names():
    net = build_network({**NETWORKS["edsr"]})
    names = set(to_official({"network_g": NETWORKS["edsr"], "params": net.state_dict()})["model"]["sd"])
    assert {"encoder.sub_mean.weight", "encoder.add_mean.bias"} <= names  # unused, but required by the official code
    assert {"encoder.head.0.weight", "encoder.body.1.body.2.bias", "encoder.body.2.weight"} <= names
    assert {"imnet.layers.0.weight", "imnet.layers.4.bias"} <= names


def official(name):
    net = build_network(NETWORKS[name])
    return to_official({"network_g": NETWORKS[name], "params": net.state_dict()})["model"]


def test_official_lte_has_the_names_and_arguments_of_its_code():
    model = official("lte")
    assert model["name"] == "lte"
    assert model["args"] == {
        "encoder_spec": {"name": "edsr-baseline", "args": {"no_upsampling": True, "n_resblocks": 1, "n_feats": 4}},
        "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [6, 5]}},
        "hidden_dim": 6,
    }
    decoder = {key: tuple(value.shape) for key, value in model["sd"].items() if not key.startswith("encoder.")}
    assert decoder == {
        "coef.weight": (6, 4, 3, 3), "coef.bias": (6,), "freq.weight": (6, 4, 3, 3), "freq.bias": (6,),
        "phase.weight": (3, 2), "imnet.layers.0.weight": (6, 6), "imnet.layers.0.bias": (6,),
        "imnet.layers.2.weight": (5, 6), "imnet.layers.2.bias": (5,),
        "imnet.layers.4.weight": (3, 5), "imnet.layers.4.bias": (3,),
    }  # fmt: skip


def test_official_lmliif_has_the_names_and_arguments_of_its_code():
    model = official("lmliif")
    assert model["name"] == "lmliif"
    assert model["args"] == {
        "encoder_spec": {"name": "edsr-baseline", "args": {"no_upsampling": True, "n_resblocks": 1, "n_feats": 4}},
        "imnet_spec": {
            "name": "lmmlp",
            "args": {"out_dim": 3, "hidden_dim": 5, "hidden_depth": 2, "mod_scale": True, "mod_shift": True},
        },
        "hypernet_spec": {"name": "mlp", "args": {"out_dim": 25, "hidden_list": [6, 7]}},
        "local_ensemble": True, "feat_unfold": True, "cell_decode": True, "mod_input": True,
    }  # fmt: skip
    decoder = {key: tuple(value.shape) for key, value in model["sd"].items() if key.endswith("net.layers.0.weight")}
    assert decoder == {"hypernet.layers.0.weight": (6, 38), "imnet.layers.0.weight": (5, 9)}
    assert {"hypernet.layers.4.bias", "imnet.layers.4.bias"} <= set(model["sd"])


def test_official_srno_has_the_names_and_arguments_of_its_code():
    model = official("srno")
    assert model["name"] == "sronet"
    assert model["args"] == {
        "encoder_spec": {"name": "edsr-baseline", "args": {"no_upsampling": True, "n_resblocks": 1, "n_feats": 4}},
        "width": 6, "blocks": 2,
    }  # fmt: skip
    decoder = {key: tuple(value.shape) for key, value in model["sd"].items() if not key.startswith("encoder.")}
    attention = {
        "qkv_proj.weight": (18, 6, 1, 1), "qkv_proj.bias": (18,), "kln.weight": (2, 1, 3), "kln.bias": (2, 1, 3),
        "vln.weight": (2, 1, 3), "vln.bias": (2, 1, 3), "o_proj1.weight": (6, 6, 1, 1), "o_proj1.bias": (6,),
        "o_proj2.weight": (6, 6, 1, 1), "o_proj2.bias": (6,),
    }  # fmt: skip
    assert decoder == {
        "conv00.weight": (6, 26, 1, 1), "conv00.bias": (6,),
        **{f"conv{k}.{name}": shape for k in (0, 1) for name, shape in attention.items()},
        "fc1.weight": (256, 6, 1, 1), "fc1.bias": (256,), "fc2.weight": (3, 256, 1, 1), "fc2.bias": (3,),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["lte", "lmliif", "srno"])
def test_official_networks_whose_tests_clip_the_cell_do_so_here(name):
    assert from_official({"model": official(name)})["network_g"]["max_scale"] == 4


def test_defaults_of_official_arguments():
    model = official("lmliif, switches off")
    del model["args"]["mod_input"]
    assert from_official({"model": model})["network_g"]["mod_input"] is False


@pytest.mark.parametrize("harm, says", [
    (lambda model: model.update(name="ciaosr"), "expected 'liif' or .*, got 'ciaosr'"),
    (lambda model: model["args"]["encoder_spec"].update(name="rdnn"), "did you mean 'rdn'"),
    (lambda model: model["args"]["encoder_spec"]["args"].update(n_feat=3), "'n_feat'"),
    (lambda model: model["args"].pop("imnet_spec"), "arguments cannot be read"),
    (lambda model: model["sd"].pop("encoder.head.0.bias"), "encoder.head.0.bias"),
    (lambda model: model["sd"].update(more=torch.zeros(1)), "more"),
])
def test_official_checkpoints_that_do_not_fit_are_refused(harm, says):
    net = build_network(NETWORKS["edsr"])
    official = to_official({"network_g": NETWORKS["edsr"], "params": net.state_dict()})
    harm(official["model"])
    with pytest.raises(LIIFError, match=says):
        from_official(official)


@pytest.mark.parametrize("network, says", [
    ({**NETWORKS["edsr"], "input_skip": "bilinear"}, "the official LIIF requires input_skip: ~, .* has bilinear"),
    ({**NETWORKS["lte"], "input_skip": None}, "the official LTE requires input_skip: bilinear, but this network has ~"),
    ({**NETWORKS["srno"], "hidden_dim": 64}, "the official SRNO requires hidden_dim: 256, but this network has 64"),
    ({"type": "PixelShuffleSR", "encoder": NETWORKS["edsr"]["encoder"], "scale": 2}, "PixelShuffleSR has no official"),
    ({**NETWORKS["rdn"], "encoder": {"type": "RDN", "num_feat": 2, "num_block": 3, "num_layer": 6, "num_grow_ch": 32}},
     "the official code does not have this encoder: {'type': 'RDN'"),
])  # fmt: skip
def test_networks_that_the_official_code_lacks_are_refused(network, says):
    with pytest.raises(LIIFError, match=says):
        to_official({"network_g": network, "params": build_network(network).state_dict()})


def test_convert_keeps_existing_files(tmp_path, capsys):
    net = build_network(NETWORKS["edsr"])
    source, there, back = tmp_path / "ours.pth", tmp_path / "official.pth", tmp_path / "back.pth"
    checkpoint.save(source, {"network_g": NETWORKS["edsr"], "params": net.state_dict()})
    assert main(["convert", str(source), str(there), "--to-official"]) == 0
    assert main(["convert", str(there), str(back)]) == 0
    before = back.read_bytes()
    assert main(["convert", str(there), str(back)]) != 0
    assert "--overwrite" in capsys.readouterr().err and back.read_bytes() == before
    lq = torch.rand(1, 3, 4, 4)
    assert torch.equal(checkpoint.load(back).render(lq, (9, 9)), net.render(lq, (9, 9)))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_compact_keeps_the_ema_in_half_precision(tmp_path, suffix):
    net, source, small = build_network(NETWORKS["edsr"]), tmp_path / "ours.pth", tmp_path / f"small{suffix}"
    (tmp_path / "card.md").write_text("# A test")
    ema = {key: value + 1 for key, value in net.state_dict().items()}
    checkpoint.save(source, {"network_g": NETWORKS["edsr"], "params": net.state_dict(), "params_ema": ema})
    card = ["--card", str(tmp_path / "card.md"), "--license", "MIT"]
    assert main(["convert", str(source), str(small), "--compact", *card]) == 0
    data = checkpoint.read(small)
    assert data["network_g"] == NETWORKS["edsr"] and (data["card"], data["license"]) == ("# A test", "MIT")
    assert all(torch.equal(value, ema[key].half()) for key, value in data["params"].items())
    assert all(p.dtype == torch.float32 for p in checkpoint.load(small).parameters())
    again = tmp_path / "again.safetensors"
    assert main(["convert", str(small), str(again), "--compact"]) == 0
    assert checkpoint.read(again)["card"] == "# A test"


def test_compact_keeps_integers():  # such as SwinIR's relative_position_index
    assert compact({"params": {"index": torch.arange(9)}})["params"]["index"].dtype == torch.int64


@pytest.mark.parametrize("words, says", [
    (["ours.pth", "ours.pth", "--compact", "--overwrite"], "ours.pth: decoder.layers.0.weight contains numbers that"),
    (["ours.pth", "a.pth", "--to-official", "--license", "MIT"], "--card and --license: the official format cannot"),
    (["ours.pth", "a.safetensors"], "a.safetensors: its entry 'step' cannot be stored in a .safetensors file; write a"),
])  # fmt: skip
def test_convert_refuses_data_that_the_output_cannot_store(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    params = build_network(NETWORKS["edsr"]).state_dict()
    params["decoder.layers.0.weight"] += 1e5
    checkpoint.save("ours.pth", {"network_g": NETWORKS["edsr"], "params": params, "step": torch.tensor(3)})
    before = Path("ours.pth").read_bytes()
    assert main(["convert", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert os.listdir() == ["ours.pth"] and Path("ours.pth").read_bytes() == before


def test_official_checkpoint_scores_the_official_number(shared_data):
    from liif_basicsr.data.arbitrary_scale_paired_dataset import ArbitraryScalePairedDataset
    from liif_basicsr.metrics.psnr_liif import calculate_psnr_liif

    net = checkpoint.load(shared_data / "official" / "edsr-baseline-liif.pth")
    dataset = ArbitraryScalePairedDataset({
        "name": "Set5", "type": "ArbitraryScalePairedDataset", "phase": "test", "io_backend": {"type": "disk"},
        "dataroot_gt": str(shared_data / "benchmark/Set5/GT_x{scale}"),
        "dataroot_lq": str(shared_data / "benchmark/Set5/LR_bicubic_x{scale}"), "scales": [4],
    })  # fmt: skip
    values = []
    for item in dataset:
        output = net.render(item["lq"][None], tuple(item["gt"].shape[-2:]))
        values.append(calculate_psnr_liif(output, item["gt"][None], crop_border=4, test_y_channel=True))
    assert sum(values) / len(values) == pytest.approx(32.239, abs=0.005)
