"""scripts/controlled_run.py trains each variant once and prints their table."""
from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from experiment import NETWORK, environ, make_images, train_options, write_options

from liif_basicsr.archs import build_network
from liif_basicsr.launch.options import read

Run = Callable[..., str]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("controlled_run")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, script: ModuleType) -> Run:
    """Run the command on tiny images with a tiny network; returns its output."""
    make_images(tmp_path / "photos", 3, (40, 44))
    write_options(tmp_path / "tiny.yml", train_options(tmp_path / "photos", total_iter=2))
    monkeypatch.chdir(tmp_path)
    for name, value in environ().items():
        monkeypatch.setenv(name, value)

    def command(*args: object, status: int = 0) -> str:
        words = ["--options", "tiny.yml", "--sets", "photos", "--data", ".", "--scales", "2", "3.5", *map(str, args)]
        monkeypatch.setattr(sys, "argv", ["controlled_run.py", *words])
        found, said = script.main(), capfd.readouterr()
        assert found == status, said.out + said.err
        return said.out + said.err

    return command


def test_variants_differ_in_one_setting(script: ModuleType) -> None:
    options = read(str(script.OPTIONS))
    network, scales = options["network_g"], options["datasets"]["train"]["scale_range"]
    for name, changes in script.VARIANTS.items():
        own = script.changed(options, changes)
        build_network(own["network_g"])
        assert own["network_g"]["encoder"] == network["encoder"]
        assert (own["network_g"] == network) == (name[:6] in ("LIIF", "LIIF-x"))
        fixed = [int(name[6:])] * 2 if name.startswith("LIIF-x") else scales
        assert own["datasets"]["train"] == {**options["datasets"]["train"], "scale_range": fixed}
        assert {key: own[key] for key in own if key not in ("network_g", "datasets")} == {
            key: options[key] for key in options if key not in ("network_g", "datasets")
        }
    assert options == read(str(script.OPTIONS))


def test_trained_variants_are_kept_and_in_the_table(tmp_path: Path, run: Run) -> None:
    assert run("--variants", "MetaSR").count("iter:       2") == 1
    trained = tmp_path / "experiments" / "tiny_MetaSR" / "models" / "net_g_latest.pth"
    before = trained.stat().st_mtime_ns
    said = run("--variants", "MetaSR", "LIIF-x2", "--out", "both.md")
    assert said.count("iter:       2") == 1 and trained.stat().st_mtime_ns == before
    table = (tmp_path / "both.md").read_text()
    assert [line.split("|")[2].strip() for line in table.splitlines()[2:]] == ["bicubic", "MetaSR", "LIIF-x2"]
    assert table in said


def test_a_variant_trained_with_other_options_is_refused(tmp_path: Path, run: Run) -> None:
    (tmp_path / "experiments" / "tiny_LIIF").mkdir(parents=True)
    assert run("--variants", "LIIF", status=1) == (
        "controlled_run.py: error: experiments/tiny_LIIF: was trained with other options; move it to train again\n"
    )


def test_a_failing_training_ends_the_run(tmp_path: Path, run: Run) -> None:
    bad = train_options(tmp_path / "none", network_g=NETWORK)
    write_options(tmp_path / "tiny.yml", bad)
    said = run("--variants", "LIIF", "LIIF-c", status=1).splitlines()
    assert said[-2].startswith("liif_basicsr: error: datasets: tiny: dataroot_gt:")
    assert said[-1] == "controlled_run.py: error: LIIF: the training ended with status 2; see its output above"
