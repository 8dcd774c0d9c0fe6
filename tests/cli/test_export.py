"""An exported ONNX graph equals the network at any size. A graph that differs is not written."""
import numpy as np
import pytest
import torch
from experiment import NETWORK
from pages import blocks

from liif_basicsr.__main__ import main
from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'liif_basicsr[onnx]'")

# raised by onnxscript, and by torch about onnxscript
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

# input size, output size: larger, equal, smaller, other shapes, exactly between features
SIZES = [((8, 12), (30, 41)), ((31, 16), (31, 16)), ((20, 24), (7, 90)), ((1, 1), (5, 3)), ((48, 33), (96, 66))]
ENCODERS = {
    "EDSR": {"type": "EDSR", "num_feat": 8, "num_block": 2},
    "RDN": {"type": "RDN", "num_feat": 8, "num_block": 2, "num_layer": 2, "num_grow_ch": 4},
    "RCAN": {"type": "RCAN", "num_feat": 8, "num_group": 1, "num_block": 1, "squeeze_factor": 2},
}
NETWORKS = {
    **{name: {**NETWORK, "encoder": encoder} for name, encoder in ENCODERS.items()},
    "four bands": {"type": "LIIF", "encoder": ENCODERS["EDSR"], "hidden_dims": [16, 16],
                   "num_in_ch": 4, "num_out_ch": 4},
    "plain and gray": {**NETWORK, "local_ensemble": False, "feat_unfold": False, "cell_decode": False,
                       "num_in_ch": 1, "num_out_ch": 1},
    "LTE": {"type": "LTE", "encoder": ENCODERS["EDSR"], "hidden_dims": [16], "num_freq": 8, "max_scale": 4},
    "LMLIIF": {"type": "LMLIIF", "encoder": ENCODERS["EDSR"], "max_scale": 4},
    "MetaSR": {"type": "MetaSR", "encoder": ENCODERS["EDSR"]},
    "SRNO": {"type": "SRNO", "encoder": ENCODERS["EDSR"], "width": 12, "num_heads": 3, "max_scale": 4},
    "Thera": {"type": "Thera", "encoder": ENCODERS["EDSR"], "tail": {"type": "ConvNeXt", "dims": [8]}, "num_freq": 8},
}
SWINIR = {"type": "SwinIR", "embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 4}


def save(folder, network):
    torch.manual_seed(0)
    net = build_network(network).eval()
    checkpoint.save(folder / "net.pth", {"params": net.state_dict(), "network_g": network})
    return net


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_image_graph_equals_the_network_at_any_size(network, tmp_path, capsys):
    import onnxruntime

    net = save(tmp_path, network)
    assert main(["export", str(tmp_path / "net.onnx"), "--model", str(tmp_path / "net.pth")]) == 0
    assert not capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.pth"]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", options)
    for in_size, size in SIZES:
        lq = torch.rand(1, net.num_in_ch, *in_size)
        (output,) = session.run(["output"], {"lq": lq.numpy(), "size": np.array(size)})
        np.testing.assert_allclose(output, net.render(lq, size).clamp(0, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["EDSR", "LTE"])
def test_query_graph_equals_the_network(name, tmp_path, capsys):
    import onnxruntime

    net = save(tmp_path, NETWORKS[name])
    path = tmp_path / "net.onnx"
    assert main(["export", str(path), "--model", str(tmp_path / "net.pth"), "--queries"]) == 0
    session = onnxruntime.InferenceSession(path)
    axes = {value.name: value.shape for value in (*session.get_inputs(), *session.get_outputs())}
    assert axes == {"lq": [1, 3, "height", "width"], "coord": [1, "queries", 2], "cell": [1, "queries", 2],
                    "output": [1, "queries", 3]}  # fmt: skip
    for in_size, queries in ((8, 12), 1), ((31, 16), 700):
        lq, coord = torch.rand(1, 3, *in_size), torch.rand(1, queries, 2) * 2 - 1
        cell = torch.rand(1, queries, 2) / 8
        (output,) = session.run(None, {"lq": lq.numpy(), "coord": coord.numpy(), "cell": cell.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(output, net(lq, coord, cell).clamp(0, 1), rtol=0, atol=1e-4)


def test_snippets_of_the_docs_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    marked = [block for block in blocks("bash", "python") if block.not_run == "tests/cli/test_export.py runs it"]
    for block in marked:
        if block.language == "bash":
            for line in block.text.splitlines():
                if "export" in line:
                    assert main(line.removeprefix("python -m liif_basicsr ").split()) == 0
    namespaces = []
    for block in marked:
        if block.language == "python":
            namespaces.append({"__name__": "__main__"})
            exec(compile(block.text, block.label, "exec"), namespaces[-1])
    assert [space.get("output", space.get("colors")).shape for space in namespaces] == [(1, 3, 60, 80), (1, 500, 3)]


def test_wrong_suffix(tmp_path, capsys):
    assert main(["export", str(tmp_path / "net.pth")]) == 2
    assert "net.pth: expected a file name that ends in .onnx" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:torch.meshgrid")  # BasicSR's SwinIR
def test_network_that_works_at_one_size_only(tmp_path, capsys):
    save(tmp_path, {**NETWORK, "encoder": SWINIR})
    assert main(["export", str(tmp_path / "net.onnx"), "--model", str(tmp_path / "net.pth")]) == 2
    message = capsys.readouterr().err
    assert "LIIF with encoder SwinIR cannot be exported" in message and message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_failed_export_is_reported_without_torchs_colors_and_advice(tmp_path, monkeypatch):
    from liif_basicsr.hub.onnx import to_onnx

    def fail(*args, **kwargs):
        raise RuntimeError("Failed to export the model. \x1b[96mThis is step 1/3\x1b[0m of exporting. Next:\n- ...")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(LIIFError, match=r"cannot be exported: Failed to export the model\.$"):
        to_onnx(save(tmp_path, NETWORK), tmp_path / "net.onnx")


def test_existing_file_is_kept(tmp_path, capsys):
    (tmp_path / "old.onnx").write_text("old")
    assert main(["export"]) == 2
    assert main(["export", str(tmp_path / "old.onnx"), "--model", "none"]) == 2
    assert "old.onnx: already exists" in capsys.readouterr().err
    assert (tmp_path / "old.onnx").read_text() == "old"


def test_old_torch(tmp_path, monkeypatch):
    from liif_basicsr.hub.onnx import to_onnx

    monkeypatch.setattr(torch.export, "Dim", lambda name: None)
    with pytest.raises(LIIFError, match="export needs a newer version of torch than"):
        to_onnx(save(tmp_path, NETWORK), tmp_path / "net.onnx")


def test_missing_folder(tmp_path):
    from liif_basicsr.hub.onnx import to_onnx

    with pytest.raises(LIIFError, match="net.onnx: cannot be written: No such file"):
        to_onnx(save(tmp_path, NETWORK), tmp_path / "none" / "net.onnx")
