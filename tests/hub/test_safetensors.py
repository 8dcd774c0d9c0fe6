"""`.safetensors` files: one set of parameters with its network's options. Other files are refused in one line."""
from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from experiment import NETWORK

import liif_basicsr
from liif_basicsr.__main__ import main
from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint


@pytest.fixture
def net():
    torch.manual_seed(0)
    return build_network(NETWORK).eval()


def dense(net) -> dict[str, torch.Tensor]:
    return {key: value.contiguous() for key, value in net.state_dict().items()}


@pytest.fixture
def path(tmp_path, net):
    checkpoint.save(tmp_path / "net.safetensors", {"params": net.state_dict(), "network_g": NETWORK, "card": "a test"})
    return tmp_path / "net.safetensors"


def test_file_describes_its_network(path, net):
    lq = torch.rand(1, 3, 5, 7)
    assert torch.equal(liif_basicsr.load(path).render(lq, (9, 11)), net.render(lq, (9, 11)))
    assert checkpoint.read(path)["network_g"] == NETWORK and checkpoint.read(path)["card"] == "a test"


def test_other_programs_read_it(path, net):
    with safetensors.torch.safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["network_g"]) == NETWORK and file.metadata()["format"] == "pt"
        assert set(file.keys()) == set(net.state_dict())


def test_ema_is_stored(tmp_path, net):
    ema = {key: value + 1 for key, value in net.state_dict().items()}
    checkpoint.save(tmp_path / "a.safetensors", {"params": net.state_dict(), "params_ema": ema, "network_g": NETWORK})
    key = "decoder.layers.0.weight"
    assert torch.equal(liif_basicsr.load(tmp_path / "a.safetensors").state_dict()[key], ema[key])


def test_convert_there_and_back(path, tmp_path, net):
    assert main(["convert", str(path), str(tmp_path / "a.pth")]) == 0
    assert main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "b.safetensors")]) == 0
    before, after = checkpoint.read(path), checkpoint.read(tmp_path / "b.safetensors")
    assert all(torch.equal(value, after["params"][key]) for key, value in before.pop("params").items())
    assert before.items() <= after.items()
    assert main(["convert", str(path), str(tmp_path / "a.onnx")]) == 2
    assert main(["convert", str(path), str(tmp_path / "c.safetensors"), "--to-official"]) == 2


def test_plain_weights_load_with_their_options(tmp_path, net):
    safetensors.torch.save_file(dense(net), tmp_path / "plain.safetensors")
    with pytest.raises(LIIFError, match="does not contain the options of its network"):
        liif_basicsr.load(tmp_path / "plain.safetensors")
    liif_basicsr.load(tmp_path / "plain.safetensors", network_g=NETWORK)


@pytest.mark.parametrize("cut", [0, 4, 30, -1000, -1])
def test_truncated_file(path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(LIIFError, match="net.safetensors: not a safetensors file, or damaged") as error:
        liif_basicsr.load(path)
    assert "\n" not in str(error.value)


def test_flipped_header_bits_are_one_line(path):
    data = path.read_bytes()
    for place in range(0, 400, 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        try:
            liif_basicsr.load(path)
        except LIIFError as error:
            assert "\n" not in str(error) and str(path) in str(error)


@pytest.mark.parametrize("network_g, says", [
    ({**NETWORK, "hidden_dims": [9]}, "do not fit network_g"),
    ("{", "network_g in its metadata is not JSON; pass"), (3, "network_g is not a dict"),
    ({"type": "LIFF"}, "did you mean 'LIIF'"), ({**NETWORK, "hidden_dims": [9000, 9000]}, "much larger than the file"),
], ids=str)  # fmt: skip
def test_invalid_metadata(tmp_path, net, network_g, says):
    text = network_g if isinstance(network_g, str) else json.dumps(network_g)
    safetensors.torch.save_file(dense(net), tmp_path / "a.safetensors", {"network_g": text})
    with pytest.raises(LIIFError, match=says) as error:
        liif_basicsr.load(tmp_path / "a.safetensors")
    assert "\n" not in str(error.value)


def test_upscale_command(path, tmp_path):
    from image_files import image

    image("RGB").save(tmp_path / "a.png")
    assert main(["upscale", str(tmp_path / "a.png"), "--model", str(path), "--device", "cpu"]) == 0
