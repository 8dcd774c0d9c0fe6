"""scripts/tables.py agrees with BasicSR's test.py, and saved results survive when the script is killed."""
from __future__ import annotations

import argparse
import csv
import importlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from datafiles import noise_image, refused, save
from experiment import NETWORK, environ, launch, make_images, train_options, val_set, write_options
from PIL import Image

from liif_basicsr.archs import build_network
from liif_basicsr.data.decode import to_image_tensor
from liif_basicsr.evaluation import methods
from liif_basicsr.evaluation.command import scales
from liif_basicsr.evaluation.published import PUBLISHED
from liif_basicsr.evaluation.results import Results
from liif_basicsr.evaluation.sets import PixelKind, common_kind, open_sets
from liif_basicsr.hub import checkpoint

pytestmark = pytest.mark.cpu  # tables.py chooses its device itself

METRICS = {"psnr": {"type": "calculate_psnr_liif"}, "ssim": {"type": "calculate_ssim"}}
Run = Callable[..., str]
COMMAND = [sys.executable, str(ROOT / "scripts" / "tables.py")]
# Runs a script with the arguments SCRIPT SIGNAL ..., and sends the signal to itself after two saved results.
SIGNALED = """
import os, runpy, sys
from liif_basicsr.evaluation.results import Results
script, number, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = script
sys.path.insert(0, os.path.dirname(script))
save = Results.__setitem__

def save_and_signal(self, pair, values):
    save(self, pair, values)
    if len(self.kept) == 2:
        os.kill(os.getpid(), int(number))

Results.__setitem__ = save_and_signal
runpy.run_path(script, run_name="__main__")
"""


def save_network(path: Path, seed: int = 0, value_range: object = None, **changes: object) -> Path:
    """A tiny network with random weights."""
    torch.manual_seed(seed)
    block = {**NETWORK, **changes}
    content = {"params": build_network(block).state_dict(), "network_g": block}
    checkpoint.save(path, content if value_range is None else {**content, "value_range": value_range})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with low-resolution images at x2 to x4, a set without them, and two networks."""
    root = tmp_path_factory.mktemp("data")
    make_images(root / "photos", 3, (48, 52))
    gt = make_images(root / "Paired" / "GT_x2", 2, (48, 60), seed=1)
    for scale in (3, 4):
        shutil.copytree(gt, root / "Paired" / f"GT_x{scale}")
    for scale in (2, 3, 4):
        for path in sorted(gt.iterdir()):  # differ from Pillow's, to show that the supplied files are used
            pixels = np.asarray(Image.open(path))
            height = len(pixels) // scale * scale
            save(root / "Paired" / f"LR_bicubic_x{scale}" / path.name, pixels[:height:scale, ::scale])
    save_network(root / "a.pth", 0)
    save_network(root / "b.pth", 1)
    return root


def lines_of(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """Return the rows of a CSV table, by set, network and scale."""
    with open(path, newline="") as file:
        return {(row["set"], row["network"], row["scale"]): row for row in csv.DictReader(file)}


@pytest.fixture
def run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Run:
    """Run the command in this process, in an empty folder; returns its stderr."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.chdir(tmp_path)
    script = importlib.import_module("tables")

    def command(*args: object, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["tables.py", *map(str, args), "--data", str(data)])
        found, said = script.main(), capsys.readouterr().err
        assert found == status, said
        return said

    return command


@pytest.fixture
def table_of(tmp_path: Path, run: Run) -> Callable[..., dict[tuple[str, str, str], dict[str, str]]]:
    """Make a table; returns its rows by set, network and scale."""

    def make(*args: object) -> dict[tuple[str, str, str], dict[str, str]]:
        run(*args, "--out", "t.csv")
        return lines_of(tmp_path / "t.csv")

    return make


# Measuring --------------------------------------------------------------------------------------------------


def test_the_table_equals_basicsrs_test(tmp_path: Path, data: Path, table_of) -> None:
    """Compare the same network, on supplied and on downsampled low-resolution images."""
    paired = {"type": "ArbitraryScalePairedDataset", "dataroot_lq": f"{data}/Paired/LR_bicubic_x{{scale}}"}
    options = train_options(data)
    options["datasets"] = {
        "test_1": val_set("Paired", data / "Paired" / "GT_x{scale}", [2, 4], **paired, protocol="benchmark"),
        "test_2": val_set("Paired", data / "Paired" / "GT_x2", [2.5], protocol="benchmark"),
        "test_3": val_set("photos", data / "photos", [2, [3, 1.5]], protocol="benchmark"),
    }
    options.update(name="t", path={"pretrain_network_g": str(data / "a.pth")})
    options["val"] = {"save_img": False, "metrics": METRICS}
    launch("test", write_options(tmp_path / "test.yml", options))
    with open(tmp_path / "results" / "t" / "results.csv", newline="") as file:
        expected = {row["set"]: row for row in csv.DictReader(file)}
    rows = {**table_of(data / "a.pth", "--sets", "Paired", "--scales", 2, 4, 2.5),
            **table_of(data / "a.pth", "--sets", "photos", "--scales", 2, "3x1.5")}  # fmt: skip
    assert len(rows) == len(expected) == 5
    for (name, _, scale), row in rows.items():
        for metric in METRICS:
            assert float(row[metric]) == pytest.approx(float(expected[f"{name}_x{scale}"][metric]), abs=1e-6)


@pytest.mark.parametrize("name", methods.FILTERS)
def test_filters_equal_pillows(name: str) -> None:
    image = Image.fromarray(noise_image(9, 13))
    expected = np.asarray(image.resize((30, 20), methods.FILTERS[name]))
    found = methods.open_method(name).render(to_image_tensor(np.asarray(image))[None], (20, 30))
    assert np.array_equal(found[0].permute(1, 2, 0).numpy() * 255, expected)


@pytest.mark.parametrize(("scale", "chosen"), [(1.2, 2), (2, 2), (2.4, 2), (2.5, 3), (3.4, 3), (3.5, 4), (30, 4)])
def test_the_nearest_network_of_a_group_renders(tmp_path: Path, scale: float, chosen: int) -> None:
    files = {n: save_network(tmp_path / f"x{n}.pth", seed=n, scale=n) for n in (2, 3, 4)}
    group = methods.open_method("EDSR=" + ",".join(map(str, files.values())))
    lq, size = torch.rand(1, 3, 20, 20), (round(20 * scale), round(20 * scale))
    assert torch.equal(group.render(lq, size), methods.open_method(str(files[chosen])).render(lq, size))
    assert group.label == "EDSR" and group.parameters == 3 * methods.open_method(str(files[2])).parameters


def test_a_label_is_given_or_derived_from_the_file(tmp_path: Path) -> None:
    run = tmp_path / "experiments" / "my_run" / "models"
    run.mkdir(parents=True)
    file = save_network(run / "net_g_latest.pth")
    assert [methods.open_method(text).label for text in (str(file), f"mine={file}")] == ["my_run", "mine"]
    (tmp_path / "a=b,c").mkdir()
    odd = save_network(tmp_path / "a=b,c" / "odd.pth")
    assert methods.open_method(str(odd)).label == "odd"


def test_precision_applies_to_networks_only(data: Path) -> None:
    for text, same in ("bicubic", True), (str(data / "a.pth"), False):
        full, half = (methods.open_method(text, precision) for precision in ("float32", "bfloat16"))
        lq = torch.rand(1, 3, 8, 8)
        assert (full.key == half.key) == torch.equal(full.render(lq, (20, 20)), half.render(lq, (20, 20))) == same


# Saved results ----------------------------------------------------------------------------------------------


def test_only_changed_inputs_are_measured_again(tmp_path: Path, data: Path, table_of) -> None:
    shutil.copytree(data / "photos", tmp_path / "mine")
    network = save_network(tmp_path / "net.pth", 0)
    args = [f"net={network}", "bicubic", "--sets", "photos", f"mine={tmp_path}/mine", "--scales", 2, 3]
    first = table_of(*args)
    kept = tmp_path / "results" / "tables.json"

    def measured_again() -> set[tuple[str, str]]:
        """Mark the saved results, and return (set, network) of the rows without a mark: they were measured again."""
        kept.write_text(json.dumps({key: {**row, "psnr": 100} for key, row in json.loads(kept.read_text()).items()}))
        return {key[:2] for key, row in table_of(*args).items() if float(row["psnr"]) != 100}

    assert len(first) == 8 and measured_again() == set()
    save_network(network, 1)
    assert measured_again() == {("photos", "net"), ("mine", "net")}
    save(tmp_path / "mine" / "p0.png", noise_image(50, 50))
    assert measured_again() == {("mine", "net"), ("mine", "bicubic")}


@pytest.mark.parametrize("number", [getattr(signal, "SIGKILL", signal.SIGTERM), signal.SIGINT])
def test_an_ended_run_continues_to_the_same_table(tmp_path: Path, data: Path, table_of, number: int) -> None:
    args = [data / "a.pth", data / "b.pth", "--sets", "photos", "--scales", "1:2:0.5"]
    kept = tmp_path / "ended" / "tables.json"
    words = [*map(str, args), "--data", str(data), "--results", str(kept), "--out", str(tmp_path / "t.md")]
    command = [sys.executable, "-c", SIGNALED, COMMAND[-1], str(int(number)), *words]
    run = subprocess.run(command, env=environ(), text=True, capture_output=True, check=False)
    if number == signal.SIGINT:
        assert run.returncode == 130, run.stderr
        assert run.stderr.splitlines()[-1] == "tables.py: interrupted; run it again to continue"
    assert len(json.loads(kept.read_text())) == 2 and not (tmp_path / "t.md").exists()
    assert table_of(*args, "--results", kept) == table_of(*args, "--results", "whole.json")


def test_results_of_another_process_are_kept(tmp_path: Path, data: Path) -> None:
    method, eval_sets = methods.open_method("bicubic"), open_sets("photos", data, [(2, 2), (3, 3)])
    first, second = Results(tmp_path / "r.json"), Results(tmp_path / "r.json")
    first[method, eval_sets[0]] = {"psnr": 1.5, "ssim": 0.5}
    second[method, eval_sets[1]] = {"psnr": 2.5, "ssim": 0.25}
    whole = Results(tmp_path / "r.json")
    assert [whole[method, eval_set]["psnr"] for eval_set in eval_sets] == [1.5, 2.5]


def test_published_numbers_follow_their_set(tmp_path: Path, data: Path, table_of) -> None:
    rows = table_of("bicubic", "--sets", f"Set5={data}/photos", "--scales", 2, 2.5, 6)
    paper = {key[2]: float(row["psnr"]) for key, row in rows.items() if key[1] == "RDN-LIIF (published)"}
    assert paper == {"2": 38.17, "6": 29.15}
    assert float(rows["Set5", "RDN-SRNO (published)", "2"]["psnr"]) == 38.32 and len(rows) == 9
    assert len(PUBLISHED["DIV2K"]) == 23 and PUBLISHED["DIV2K"]["LIIF-x4"]["30"] == 20.51


def test_costs_are_columns_on_request(data: Path, table_of) -> None:
    args = ["bicubic", f"a={data}/a.pth", "--sets", "photos", "--scales", 2, "3x2", "--self-ensemble", "--cost"]
    rows = table_of(*args, "--runs", 1)
    assert all(float(row["seconds"]) > 0 and "ratio" not in row for row in rows.values())
    assert len(rows) == 6 and not rows["photos", "bicubic", "2"]["multiply_adds"]
    for scale in "2", "3x2":
        one, eight = (float(rows["photos", label, scale]["multiply_adds"]) for label in ("a", "a, self-ensemble"))
        assert eight == pytest.approx(8 * one, rel=0.1)


def band_error(band: np.ndarray) -> float:
    """Return the mean squared error of a band (H, W) after halving and enlarging it, without a border of two pixels."""
    image = Image.fromarray(band)
    for size in (image.width // 2, image.height // 2), image.size:
        image = Image.fromarray(np.asarray(image.resize(size, Image.Resampling.BICUBIC)).clip(0, 1))
    return float(np.square(band.astype(np.float64) - np.asarray(image))[2:-2, 2:-2].mean())


@pytest.mark.parametrize("channels, dtype", [(1, "uint16"), (4, "float32")])
def test_other_channels_and_depths(tmp_path: Path, table_of, run: Run, channels: int, dtype: str) -> None:
    """Nothing is rounded to 8 bits: values equal those in float64."""
    value_range = (0.0, 65535.0) if dtype == "uint16" else (-5.0, 20.0)
    options = ["--channels", channels, *([] if dtype == "uint16" else ["--value-range", *map(int, value_range)])]
    gt = np.random.default_rng(0).uniform(*value_range, (24, 28, channels)).astype(dtype)
    (tmp_path / "bands").mkdir()
    np.save(tmp_path / "bands" / "a.npy", gt)
    net = save_network(tmp_path / "net.pth", num_in_ch=channels, num_out_ch=channels)
    args = [f"net={net}", "bicubic", "--sets", f"Set5={tmp_path}/bands", "--scales", 2, "--reference", "bicubic"]
    rows = table_of(*args, *options, "--cost", "--runs", 1, "--metrics", "psnr", "psnr_mean", "ssim", "--self-ensemble")
    assert len(rows) == 3  # published results, which are for RGB, are left out
    unit = ((gt.astype(np.float64) - value_range[0]) / (value_range[1] - value_range[0])).astype(np.float32)
    squares = np.array([band_error(band) for band in np.moveaxis(unit, -1, 0)])
    row = rows["Set5", "bicubic", "2"]
    assert float(row["psnr"]) == pytest.approx(-10 * np.log10(squares.mean()), abs=1e-4)
    assert float(row["psnr_mean"]) == pytest.approx(np.mean(-10 * np.log10(squares)), abs=1e-4)
    assert row["psnr_to"] == "inf" and float(rows["Set5", "net", "2"]["multiply_adds"]) > 0
    low, high = map(int, value_range)
    wider = table_of("bicubic", *args[2:6], "--channels", channels, "--value-range", low, 2 * high - low)
    assert float(wider["Set5", "bicubic", "2"]["psnr"]) > float(row["psnr"]) + 3  # not the saved result
    line = run(*args, "--channels", channels + 1, *options[2:], status=1)
    assert f"a.npy has {channels} channel" in line and f"but channels is {channels + 1}" in line


def test_self_ensemble_is_symmetric(data: Path) -> None:
    net, ensemble = methods.open_methods([str(data / "a.pth")], self_ensemble=True)
    lq = torch.rand(1, 3, 8, 9)
    for method, same in (net, False), (ensemble, True):
        output = method.render(lq, (20, 21))
        for turned, back in (lq.flip(-1), lambda x: x.flip(-1)), (lq.mT, lambda x: x.mT):
            size = (20, 21) if turned.shape == lq.shape else (21, 20)
            assert torch.allclose(back(method.render(turned, size)), output, atol=1e-6) == same
    turns = [(k, flip) for k in range(4) for flip in ([], [-1])]
    expected = [net.render(lq.rot90(k, (-2, -1)).flip(flip), (21, 20) if k % 2 else (20, 21)) for k, flip in turns]
    restored = [x.flip(flip).rot90(-k, (-2, -1)) for x, (k, flip) in zip(expected, turns, strict=True)]
    assert torch.allclose(ensemble.render(lq, (20, 21)), torch.stack(restored).mean(0), atol=1e-6)


def test_psnr_against_time_is_plotted(
    tmp_path: Path, data: Path, run: Run, table_of, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = pytest.importorskip("matplotlib.axes").Axes
    drawn, plot = [], axes.plot

    def recorded(self, x: float, y: float, **style: str) -> list:
        drawn.append((style["label"], self.get_subplotspec().num1, x, y))
        return plot(self, x, y, **style)

    monkeypatch.setattr(axes, "plot", recorded)
    args = ["bicubic", data / "a.pth", "--sets", "photos", "Paired", "--scales", 2, 3, "--runs", 1, "--figure"]
    rows = table_of(*args, "t.png")
    panels = [(name, scale) for name in ("photos", "Paired") for scale in "23"]
    assert (tmp_path / "t.png").read_bytes()[:4] == b"\x89PNG"
    assert drawn == [
        (label, panel, float(rows[name, label, scale]["seconds"]), float(rows[name, label, scale]["psnr"]))
        for panel, (name, scale) in enumerate(panels) for label in ("bicubic", "a")
    ]  # fmt: skip
    line = run(*args, "t.png", "--metrics", "ssim", status=1)
    assert line == "tables.py: error: --figure: needs the PSNR; add psnr to --metrics\n"


# Bad input --------------------------------------------------------------------------------------------------


def test_scales_are_numbers_pairs_and_ranges() -> None:
    assert scales("2.5") == [(2.5, 2.5)] and scales("2x3.5") == [(2, 3.5)]
    assert [s for s, _ in scales("1.5:2.1:0.2")] == [1.5, 1.7, 1.9, 2.1]
    for wrong in ("0.5", "x", "2x", "1:2", "2:1:0.1", "1:2:0", "nan", "inf", "2x3x4", "1:inf:1"):
        with pytest.raises(argparse.ArgumentTypeError, match=re.escape(repr(wrong))):
            scales(wrong)


def test_bad_input_is_refused_in_a_line(tmp_path: Path, data: Path) -> None:
    (tmp_path / "damaged.pth").write_bytes((data / "a.pth").read_bytes()[:900])
    pair = f"{data}/a.pth,{data}/b.pth"
    refused(lambda: methods.open_method("bicubc"), "'bicubc'", "did you mean 'bicubic'")
    refused(lambda: methods.open_method("x=nowhere.pth"), "nowhere.pth", "no such file")
    refused(lambda: methods.open_method(str(tmp_path / "damaged.pth")), "damaged.pth")
    refused(lambda: methods.open_method(pair), "must differ in scale")
    refused(lambda: methods.open_method(f"{pair},bicubic"), "bicubic", "filter cannot be part of a group")
    refused(lambda: methods.open_methods(["bicubic", "bicubic"]), "bicubic", "LABEL=")
    refused(lambda: open_sets("photo", data, [(2, 2)]), "photo", "did you mean 'photos'")
    refused(lambda: open_sets("Set5", tmp_path / "none", [(2, 2)]), "Set5", "prepare benchmark")
    refused(lambda: open_sets(f"x={tmp_path}", data, [(2, 2)]), "no images")
    refused(lambda: open_sets("photos", data, [(30, 30)]), "p0.png", "48x52", "too small for x30")
    refused(lambda: open_sets("photos", data, [(300, 300)]), "p0.png")
    refused(lambda: open_sets("photos", data, [(2, 2)], degradation="jpg:60"), "jpg:60", "is not a degradation")


def test_images_of_another_kind_than_the_networks_are_refused(tmp_path: Path, data: Path, run: Run) -> None:
    four = PixelKind(4, np.dtype("float32"), (0, 100))
    refused(lambda: methods.open_method(f"{data}/a.pth", kind=four), "a.pth: maps 3 channels to 3", "have 4")
    net = save_network(tmp_path / "net.pth", value_range=(-5, 20))
    refused(lambda: methods.open_method(str(net)), "trained with value_range: [-5, 20]; use --value-range -5 20")
    methods.open_method(str(net), kind=PixelKind(value_range=(-5, 20)))
    make_images(tmp_path / "mixed", 2, (48, 52))
    np.save(tmp_path / "mixed" / "p1.npy", np.zeros((48, 52, 3), np.uint16))
    mixed = open_sets(f"mixed={tmp_path}/mixed", data, [(2, 2)])
    refused(lambda: common_kind(mixed), "--sets", "p1.npy has uint16 pixels, but other images have uint8")
    options = ["bicubic", "--sets", "photos", "--scales", 2]
    assert "NIQE needs RGB" in run(*options, "--channels", 1, "--metrics", "niqe", status=1)
    assert "--official: the official code takes RGB, " in run(*options, "--channels", 1, "--official", data, status=1)


def test_the_command_reports_bad_output_before_it_measures(tmp_path: Path, data: Path, run: Run) -> None:
    args = [data / "a.pth", "--sets", "photos", "--scales", 2, "--out"]
    for wrong, said in ("t.doc", "t.doc: cannot be written as '.doc'"), ("/proc/none/t.md", "/proc/none/t.md: cannot"):
        line = run(*args, wrong, status=1)
        assert line.startswith(f"tables.py: error: {said}") and line.count("\n") == 1
    assert not list(tmp_path.iterdir())
