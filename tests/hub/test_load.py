"""`load` returns trainable networks, loads networks registered in BasicSR, and does not affect other threads."""
import threading

import pytest
import torch
from experiment import NETWORK

import liif_basicsr
from liif_basicsr.archs import build_network
from liif_basicsr.archs.base import ContinuousNetwork, Decoder
from liif_basicsr.archs.encoders import build_encoder
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint, name_of


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net_g_1.pth"
    checkpoint.save(path, {"params": build_network(NETWORK).state_dict(), "network_g": NETWORK})
    return path


@pytest.fixture
def query_alone():
    from basicsr.utils.registry import ARCH_REGISTRY

    class FirstChannels(Decoder):
        def query(self, prepared, queries):
            return torch.nn.functional.grid_sample(prepared, queries.grid(), align_corners=False)[:, :3, 0].mT

    class QueryAlone(ContinuousNetwork):
        def __init__(self, encoder: dict):
            super().__init__(build_encoder(encoder), FirstChannels(), input_skip="bilinear")

    ARCH_REGISTRY.register(QueryAlone)
    yield
    del ARCH_REGISTRY._obj_map["QueryAlone"]


def test_argument_must_not_contradict_the_file(path):
    liif_basicsr.load(path, network_g=NETWORK)
    with pytest.raises(LIIFError, match=r"_1.pth: network_g: differs from the one in the file, .*; omit the argument"):
        liif_basicsr.load(path, network_g={**NETWORK, "input_skip": None})


def test_loaded_network_is_trainable(path):
    net = liif_basicsr.load(path)
    net(torch.rand(1, 3, 5, 7), torch.rand(1, 4, 2), torch.rand(1, 1, 2)).sum().backward()
    assert all(param.grad is not None for param in net.parameters())


def test_networks_built_by_basicsr_load(tmp_path, query_alone):
    """A network that another project could have registered in BasicSR. Only this test registers it."""
    from basicsr.archs import build_network as build_by_basicsr

    block = {"type": "QueryAlone", "encoder": NETWORK["encoder"]}
    net = build_by_basicsr({**block})
    checkpoint.save(tmp_path / "net.pth", {"params": net.state_dict(), "network_g": block})
    lq = torch.rand(1, 3, 5, 7)
    torch.testing.assert_close(liif_basicsr.load(tmp_path / "net.pth").render(lq, (12, 9)), net.render(lq, (12, 9)))
    with pytest.raises(LIIFError, match="network_g: unknown option 'encoders'; did you mean 'encoder'"):
        build_network({"type": "QueryAlone", "encoders": 1})


def test_modules_built_by_other_threads_do_not_count(path, monkeypatch):
    monkeypatch.setattr(checkpoint, "ROOM", 2_000_000)
    stop = threading.Event()

    def build_others():
        while not stop.is_set():
            torch.nn.Linear(1000, 1000)

    thread = threading.Thread(target=build_others)
    thread.start()
    try:
        for _ in range(5):
            liif_basicsr.load(path)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(("model", "name"), [
    ("experiments/run/models/net_g_latest.pth", "run"), ("models/net_g_latest.pth", "folder"),
    ("../models/net_g_latest.pth", "folder"), ("weights/x.pth", "x"), ("liif-fast", "liif-fast"),
])  # fmt: skip
def test_short_name_of_a_model(tmp_path, monkeypatch, model, name):
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "folder" / ("inside" if model.startswith("..") else ""))
    assert name_of(model) == name
