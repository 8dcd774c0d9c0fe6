"""spandrel loads the plugin's checkpoints and official ones, and describes them correctly."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import ROOT, Environment
from experiment import NETWORK, environ
from torch import nn

import liif_basicsr
from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint, find, official

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")  # by BasicSR's SwinIR
spandrel = pytest.importorskip("spandrel", reason="spandrel is not installed: pip install spandrel")
from liif_basicsr.integrations import spandrel as ours  # noqa: E402

ENCODERS: dict[str, dict[str, Any]] = {
    "EDSR": {"num_feat": 4, "num_block": 1},
    "RDN": {"num_feat": 4, "num_block": 1, "num_layer": 2, "num_grow_ch": 4},
    "RCAN": {"num_feat": 16, "num_group": 1, "num_block": 1},
    "SwinIR": {"embed_dim": 8, "depths": [2], "num_heads": [2], "window_size": 4, "mlp_ratio": 2},
}


@pytest.fixture(autouse=True)
def installed():
    """Register the networks in spandrel with their own scales."""
    ours.install()


def network(encoder: str = "EDSR", **more: Any) -> dict[str, Any]:
    return {**NETWORK, "encoder": {"type": encoder, **ENCODERS[encoder]}, **more}


def save(path: Path, block: dict[str, Any], **more: Any) -> nn.Module:
    """Write a checkpoint and return its network."""
    torch.manual_seed(0)
    net = build_network(block).eval()
    other = build_network(block)
    params = {"params": other.state_dict(), "params_ema": net.state_dict()}
    checkpoint.save(path, {**params, "network_g": block, **more})
    return net


def image(height: int = 13, width: int = 18) -> torch.Tensor:
    """An image with smooth colors."""
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    return torch.stack((y.sin(), x.cos(), (x * y).sin()))[None].mul(0.4).add(0.5)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_checkpoint_is_described_at_its_own_scale(tmp_path: Path, scale: int) -> None:
    net = save(tmp_path / "net_g_latest.pth", network(scale=scale))
    found = spandrel.ModelLoader().load_from_file(tmp_path / "net_g_latest.pth")
    assert isinstance(found, spandrel.ImageModelDescriptor)
    assert (found.scale, found.architecture.id, found.tags) == (scale, "LIIF", ["EDSR"])
    assert (found.input_channels, found.output_channels, found.size_requirements.none) == (3, 3, True)
    assert found.purpose == ("SR" if scale > 1 else "Restoration")
    assert found.tiling is spandrel.ModelTiling.INTERNAL
    assert torch.equal(found(image()), net.render(image(), (13 * scale, 18 * scale)).clamp(0, 1))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_loads_with_the_restricted_unpickler(tmp_path: Path, encoder: str) -> None:
    net = save(tmp_path / "net.pth", network(encoder))
    found = spandrel.ModelLoader().load_from_file(tmp_path / "net.pth")
    assert torch.equal(found(image()), net.render(image(), (52, 72)).clamp(0, 1))


@pytest.mark.parametrize("block", [{"type": "MetaSR", "hidden_dim": 8}, {"type": "PixelShuffleSR", "scale": 2}])
def test_every_network_is_found_by_its_name(tmp_path: Path, block: dict[str, Any]) -> None:
    block = {**block, "encoder": {"type": "EDSR", **ENCODERS["EDSR"]}}
    net = save(tmp_path / "net.pth", block)
    found = spandrel.ModelLoader().load_from_file(tmp_path / "net.pth")
    assert found.architecture.id == block["type"]
    assert torch.allclose(found(image()), net(image()).detach().clamp(0, 1), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_half_precision_is_declared_and_close(tmp_path: Path, encoder: str, dtype: torch.dtype) -> None:
    net = save(tmp_path / "net.pth", network(encoder))
    found = spandrel.ModelLoader().load_from_file(tmp_path / "net.pth")
    assert found.supports_half == found.supports_bfloat16 == (encoder != "SwinIR")
    if not found.supports_half:
        with pytest.raises(spandrel.UnsupportedDtypeError):
            found.to(dtype)
        return
    output = found.to(dtype)(image().to(dtype))
    assert output.dtype == dtype
    difference = (output.float() - net.render(image(), (52, 72)).clamp(0, 1)).abs().max()
    assert difference < (0.002 if dtype == torch.float16 else 0.02)


def test_tiles_cut_by_the_program(tmp_path: Path) -> None:
    """ComfyUI cuts every image into tiles. This changes only pixels within the receptive radius of a cut."""
    net: Any = save(tmp_path / "net.pth", network(scale=2))
    found = spandrel.ModelLoader().load_from_file(tmp_path / "net.pth")
    halo = net.encoder.receptive_radius + 3
    whole, left = found(image(20, 40)), found(image(20, 40)[..., :24])
    assert torch.allclose(whole[..., : 2 * (24 - halo)], left[..., : 2 * (24 - halo)], atol=1e-6)


def test_loading_from_a_state_dict(tmp_path: Path) -> None:
    """ComfyUI reads the file itself and passes its contents to spandrel."""
    net = save(tmp_path / "net.pth", network(scale=3))
    data = torch.load(tmp_path / "net.pth", weights_only=True)
    found = spandrel.ModelLoader().load_from_state_dict(data)
    assert found.scale == 3
    assert torch.equal(found(image()), net.render(image(), (39, 54)).clamp(0, 1))


def test_an_official_checkpoint(tmp_path: Path) -> None:
    block = {"type": "LIIF", "encoder": {"type": "EDSR", "num_feat": 8, "num_block": 1}, "hidden_dims": [16]}
    net = save(tmp_path / "ours.pth", block)
    data = official.to_official(checkpoint.read(tmp_path / "ours.pth"))
    torch.save({**data, "optimizer": {"state": {}}, "epoch": 1000}, tmp_path / "official.pth")
    found = spandrel.ModelLoader().load_from_file(tmp_path / "official.pth")
    assert (found.architecture.id, found.scale) == ("LIIF", 4)
    assert torch.equal(found(image()), net.render(image(), (52, 72)).clamp(0, 1))


def test_a_safetensors_file(tmp_path: Path) -> None:
    net: Any = build_network(network(scale=3)).eval()
    checkpoint.save(tmp_path / "net.safetensors", {"params": net.state_dict(), "network_g": network(scale=3)})
    found = spandrel.ModelLoader().load_from_file(tmp_path / "net.safetensors")
    assert found.scale == 3
    assert torch.equal(found(image()), net.render(image(), (39, 54)).clamp(0, 1))


@pytest.mark.parametrize("reader", ["spandrel", "ComfyUI"])
def test_a_bundled_model(reader: str) -> None:
    loader = spandrel.ModelLoader()
    if reader == "ComfyUI":  # ComfyUI drops the metadata of safetensors files
        found = loader.load_from_state_dict(safetensors.torch.load_file(find("liif-fast")))
    else:
        found = loader.load_from_file(find("liif-fast"))
    large = liif_basicsr.upscale(np.full((8, 8, 3), 100, np.uint8), scale=4)
    output = found(torch.full((1, 3, 8, 8), 100 / 255))
    assert np.abs(output[0].permute(1, 2, 0).numpy() * 255 - large).max() < 3


def test_the_scale_can_be_chosen(tmp_path: Path) -> None:
    save(tmp_path / "net.pth", network(scale=2.5))
    with pytest.raises(LIIFError, match=r"scale 2\.5: spandrel supports only positive integers; choose one"):
        spandrel.ModelLoader().load_from_file(tmp_path / "net.pth")
    ours.install(scale=3)
    found = spandrel.ModelLoader().load_from_file(tmp_path / "net.pth")
    assert found.scale == 3 and found(image()).shape == (1, 3, 39, 54)
    with pytest.raises(LIIFError, match="scale 0"):
        ours.install(scale=0)


def test_installing_twice_is_harmless() -> None:
    count = len(spandrel.MAIN_REGISTRY)
    assert ours.install() == []
    assert len(spandrel.MAIN_REGISTRY) == count
    theirs = [support for support in spandrel.MAIN_REGISTRY if support.architecture.id == "SwinIR"]
    assert len(theirs) == 1 and not isinstance(theirs[0].architecture, ours.OurNetwork)


def test_other_networks_load_as_before(tmp_path: Path) -> None:
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    net = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=2)
    torch.save({"params": net.state_dict(), "network_g": {"type": "SRVGGNetCompact"}}, tmp_path / "compact.pth")
    assert spandrel.ModelLoader().load_from_file(tmp_path / "compact.pth").architecture.id == "Compact"
    torch.save({"params": {"conv.weight": torch.zeros(1)}}, tmp_path / "unknown.pth")
    with pytest.raises(spandrel.UnsupportedModelError):
        spandrel.ModelLoader().load_from_file(tmp_path / "unknown.pth")


def test_an_inconsistent_checkpoint_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "net.pth", network())
    data = torch.load(tmp_path / "net.pth", weights_only=True)
    for block, said in (
        ({**network(), "encoder": {"type": "EDSR", "num_feat": 8, "num_block": 1}}, "do not fit network_g"),
        ({**network(), "hidden_dims": [9000, 9000]}, "a network much larger than the file"),
    ):
        torch.save({**data, "network_g": block}, tmp_path / "lies.pth")
        with pytest.raises(LIIFError, match=said):
            spandrel.ModelLoader().load_from_file(tmp_path / "lies.pth")


def test_an_incompatible_spandrel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(sys.modules[spandrel.ModelLoader.__module__]), ours.NAME)
    with pytest.raises(LIIFError, match=r"spandrel .* is not supported; run `pip install 'spandrel<0\.5'`"):
        ours.install()


def test_a_missing_spandrel_is_reported() -> None:
    code = "import sys; sys.modules['spandrel'] = None; import liif_basicsr.integrations.spandrel"
    done = subprocess.run([sys.executable, "-c", code], env=environ(), text=True, capture_output=True, cwd=ROOT)
    assert done.stderr.splitlines()[-1].endswith("; run `pip install 'liif_basicsr[spandrel]'`")


def test_the_hook_registers_when_spandrel_is_imported(installed_plugin: Environment) -> None:
    code = "import spandrel; print('LIIF' in spandrel.MAIN_REGISTRY)"
    assert installed_plugin.run("-c", code).stdout == "True\n"
    assert installed_plugin.run("-c", code, LIIF_BASICSR_DISABLE="1").stdout == "False\n"
    by_hand = "from liif_basicsr.integrations.spandrel import install; print(len(install()) > 3)"
    done = installed_plugin.run("-c", by_hand)
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.fixture
def installed_plugin(environment: Environment) -> Environment:
    environment.add_plugin()
    return environment
