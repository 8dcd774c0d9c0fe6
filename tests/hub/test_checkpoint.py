"""Checkpoints are read without running code; damaged, malicious and foreign files are reported in one line."""
import os
import pickle
import zipfile

import pytest
import torch
from experiment import NETWORK

import liif_basicsr
from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.hub.official import to_official


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return build_network(NETWORK)


@pytest.fixture
def path(tmp_path, net):
    path = tmp_path / "net_g_1.pth"
    ema = {key: value + 1 for key, value in net.state_dict().items()}
    checkpoint.save(path, {"params": net.state_dict(), "params_ema": ema, "network_g": NETWORK})
    return path


def test_checkpoint_describes_itself(path, net):
    loaded = liif_basicsr.load(path, param_key="params")
    image = torch.rand(1, 3, 5, 7)
    assert torch.equal(loaded.render(image, (12, 9)), net.render(image, (12, 9)))
    assert not loaded.training and all(p.requires_grad for p in loaded.parameters())


def test_ema_is_loaded_by_default(path, net):
    weight = "decoder.layers.0.weight"
    assert torch.equal(liif_basicsr.load(path).state_dict()[weight], net.state_dict()[weight] + 1)


def test_parameters_of_distributed_training_load(tmp_path, net):
    path = tmp_path / "module.pth"
    torch.save({"params": {f"module.{k}": v for k, v in net.state_dict().items()}, "network_g": NETWORK}, path)
    liif_basicsr.load(path)


@pytest.mark.parametrize("wrap", [lambda x: {"params": x}, lambda x: {"model": x, "params": {}}, lambda x: x])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_no_code_is_run(tmp_path, wrap, zipped):
    path, witness = tmp_path / "hostile.pth", tmp_path / "witness"
    torch.save(wrap(Malicious(f"touch {witness}")), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(LIIFError, match="hostile.pth: (refused|not a checkpoint)"):
        liif_basicsr.load(path)
    assert not witness.exists()


def test_whole_network_is_refused_with_a_remedy(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "whole.pth")
    with pytest.raises(LIIFError, match=r"refused, .* \(torch[\w.]+Linear\); save net.state_dict\(\), not the"):
        checkpoint.read(tmp_path / "whole.pth")


def test_no_code_is_run_from_a_bare_pickle(tmp_path):
    path, witness = tmp_path / "hostile.pth", tmp_path / "witness"
    path.write_bytes(pickle.dumps(Malicious(f"touch {witness}")))
    with pytest.raises(LIIFError, match="hostile.pth: not a checkpoint"):
        liif_basicsr.load(path)
    assert not witness.exists()


@pytest.mark.parametrize("size", [0, 1, 100, -1000, -1])
def test_truncated_file(path, size):
    data = path.read_bytes()
    path.write_bytes(data[:size])
    with pytest.raises(LIIFError, match="net_g_1.pth: not a checkpoint, or damaged"):
        liif_basicsr.load(path)


@pytest.mark.parametrize("text", ["hello world", "<html><body>not found</body></html>", "network_g:\n  type: LIIF\n"])
def test_text_file(tmp_path, text):
    (tmp_path / "page.pth").write_text(text)
    with pytest.raises(LIIFError, match="page.pth: not a checkpoint, or damaged: neither a zip archive nor a pickle"):
        liif_basicsr.load(tmp_path / "page.pth")


def test_flipped_bits_never_change_a_number(path, net):
    data, whole = path.read_bytes(), checkpoint.read(path)
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(100):
        position, bit = (int(torch.randint(n, (), generator=generator)) for n in (len(data), 8))
        path.write_bytes(data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :])
        try:
            found = checkpoint.read(path)["params"]
        except LIIFError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
        else:  # padding, or bytes that readers ignore
            assert all(torch.equal(value, found[key]) for key, value in whole["params"].items())
    assert refused > 25


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "not a checkpoint of a network"),
        ({"state_dict": {}}, "not a checkpoint of a network"),
        ({"params": {}}, "does not contain the options"),
        ({"params": {}, "network_g": NETWORK}, "the parameters do not fit network_g"),
        ({"params": 3, "network_g": NETWORK}, "its params is not a dict"),
        (
            {"params": {"encoder.conv_first.weight": "x"}, "network_g": NETWORK},
            "its params contains entries that are not tensors",
        ),
        ({"params": {}, "network_g": 3}, "its network_g is not a dict"),
        ({"params": {}, "network_g": {"type": "LIFF"}}, "did you mean 'LIIF'"),
    ],
    ids=str,
)
def test_other_content(tmp_path, data, message):
    path = tmp_path / "other.pth"
    torch.save(data, path)
    with pytest.raises(LIIFError, match=message):
        liif_basicsr.load(path)


ABSURD = ["x", -3, 1e20, 2.5, float("nan"), None, True, [64], {"a": 1}, 10**9, 10**30]


@pytest.mark.parametrize("value", ABSURD, ids=str)
@pytest.mark.parametrize(
    ("part", "encoder", "key"),
    [
        ("encoder", "EDSR", "num_feat"), ("encoder", "EDSR", "num_block"), ("encoder", "RDN", "num_layer"),
        ("encoder", "RCAN", "squeeze_factor"), ("encoder", "SwinIR", "depths"), ("network_g", "EDSR", "encoder"),
        ("network_g", "EDSR", "hidden_dims"), ("network_g", "EDSR", "local_ensemble"),
    ],
)  # fmt: skip
def test_arguments_of_the_wrong_type(path, part, encoder, key, value):
    data = checkpoint.read(path)
    data["network_g"] = {**data["network_g"], "encoder": {"type": encoder}}
    block = data["network_g"] if part == "network_g" else data["network_g"]["encoder"]
    block[key] = value
    torch.save(data, path)
    says = rf"net_g_1.pth: .*({key}: |the parameters do not fit network_g)"
    with pytest.raises(LIIFError, match=says) as caught:
        liif_basicsr.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoder", [{"num_feat": 9000}, {"num_block": 10000}], ids=str)
def test_networks_much_larger_than_their_file_are_not_built(path, encoder):
    data = checkpoint.read(path)
    data["network_g"] = {**data["network_g"], "encoder": {"type": "EDSR", **encoder}}
    torch.save(data, path)
    with pytest.raises(LIIFError, match="net_g_1.pth: network_g: describes a network much larger"):
        liif_basicsr.load(path)


def test_decompression_bomb(path):
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(path.with_name("bomb.pth"), "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name) + bytes(10**6 * name.endswith("data.pkl")))
    with pytest.raises(LIIFError, match="decompresses to more than its file size"):
        liif_basicsr.load(path.with_name("bomb.pth"))


FOREIGN = {
    "whole numbers": lambda value: value.long(),
    "complex": lambda value: value.to(torch.complex64),
    "sparse": lambda value: value.to_sparse(),
    "quantized": lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.quint8),
    "transposed": lambda value: value[None],
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_parameters_of_another_shape_or_kind(path, change):
    data = checkpoint.read(path)
    for params in (data["params"], data["params_ema"]):
        params["encoder.body.0.conv1.weight"] = change(params["encoder.body.0.conv1.weight"])
    torch.save(data, path)
    with pytest.raises(LIIFError, match="net_g_1.pth: (the parameters do not fit network_g|not a checkpoint|refused)"):
        liif_basicsr.load(path)


def test_parameters_of_another_precision(path):
    data = checkpoint.read(path)
    data["params_ema"] = {key: value.double() for key, value in data["params_ema"].items()}
    torch.save(data, path)
    assert liif_basicsr.load(path).state_dict()["decoder.layers.1.bias"].dtype == torch.float32


INCONSISTENT = {
    "its sd is not a dict": lambda model: model.update(sd=3),
    "its sd contains entries that are not tensors": lambda model: model["sd"].update({"imnet.layers.0.bias": "x"}),
    "network_g: hidden_dims": lambda model: model["args"]["imnet_spec"]["args"].update(hidden_list=["x"]),
    "network_g: describes a network much larger": lambda model: model["args"]["imnet_spec"]["args"].update(
        hidden_list=[9000, 9000]
    ),
}


@pytest.mark.parametrize(("says", "change"), INCONSISTENT.items(), ids=INCONSISTENT)
def test_inconsistent_official_checkpoints(path, net, says, change):
    network = {**NETWORK, "input_skip": None}
    data = to_official({"params": net.state_dict(), "network_g": network})
    change(data["model"])
    torch.save(data, path)
    with pytest.raises(LIIFError, match=f"net_g_1.pth: .*{says}") as caught:
        liif_basicsr.load(path)
    assert "\n" not in str(caught.value)


def test_parameters_of_another_network(path):
    other = build_network({**NETWORK, "hidden_dims": [9]})
    with pytest.raises(LIIFError, match="3 parameters differ in name or shape, such as decoder.layers.0.weight"):
        checkpoint.load_params(other, checkpoint.read(path))
    before = other.state_dict()["decoder.layers.0.weight"].clone()
    checkpoint.load_params(other, checkpoint.read(path), "params", strict=False)
    assert torch.equal(other.state_dict()["decoder.layers.0.weight"], before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nonfinite_parameters(path, value):
    data = checkpoint.read(path)
    data["params_ema"]["decoder.layers.1.bias"][0] = value
    checkpoint.save(path, data)
    with pytest.raises(LIIFError, match="not finite, in decoder.layers.1.bias"):
        liif_basicsr.load(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(LIIFError, match="none.pth: no such file"):
        checkpoint.read(tmp_path / "none.pth")
    with pytest.raises(LIIFError, match="cannot be read: Is a directory"):
        checkpoint.read(tmp_path)
