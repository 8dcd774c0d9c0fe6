"""scripts/controlled_run.py trains each variant once per seed and writes a table of all variants."""
from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import ROOT
from experiment import NETWORK, environ, make_images, train_options, write_options
from PIL import Image

from liif_basicsr.archs import build_network, list_archs
from liif_basicsr.hub import checkpoint
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

    def command(comparison: str, *args: object, status: int = 0) -> str:
        words = [comparison, "--options", "tiny.yml", "--sets", "photos", "--data", ".", "--scales", "2", "3.5"]
        words += map(str, args)
        monkeypatch.setattr(sys, "argv", ["controlled_run.py", *words])
        found, said = script.main(), capfd.readouterr()
        assert found == status, said.out + said.err
        return said.out + said.err

    return command


def unlike(options: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Return the options (`block:option`) that differ."""
    found = set()
    for key in {**options, **other}:
        one, two = options.get(key), other.get(key)
        if isinstance(one, dict) and isinstance(two, dict):
            found |= {f"{key}:{inner}" for inner in unlike(one, two)}
        elif one != two:
            found.add(key)
    return found


@pytest.mark.parametrize("name", ["paper", "decoders", "recipe"])
def test_variants_build_and_keep_the_encoder(script: ModuleType, name: str) -> None:
    comparison = script.COMPARISONS[name]
    options = read(str(script.ROOT / "options" / comparison.options))
    for variant, changes in comparison.variants.items():
        own = script.changed(options, changes)
        build_network(own["network_g"])
        assert own["network_g"]["encoder"] == options["network_g"]["encoder"]
        found = unlike(own, options)
        if name == "decoders" or variant in ("MetaSR", "LIIF-c", "LIIF-u", "LIIF-e", "LIIF-d", "no input_skip"):
            assert all(key.startswith("network_g:") for key in found)
        elif variant.startswith("LIIF-x"):
            assert found == {"datasets:train:scale_range"}
        elif variant == "LIIF":
            assert not found
        else:
            assert found and all(key.startswith(("train:", "datasets:train:", "network_g:input_skip")) for key in found)


def test_every_network_of_any_scale_is_compared(script: ModuleType) -> None:
    assert set(script.decoders()) == set(list_archs()) - {"PixelShuffleSR", "FixedScaleSR"}


def test_patches_of_the_recipe_have_the_same_number_of_pixels(script: ModuleType) -> None:
    train = read(str(script.ROOT / "options" / "train_controlled_tiny.yml"))["datasets"]["train"]
    for changes in script.RECIPE.values():
        own = {**train, **changes.get("datasets", {}).get("train", {})}
        assert own["batch_size_per_gpu"] * own["lq_size"] ** 2 == 8 * 24**2
        assert own["batch_size_per_gpu"] * own["sample_q"] == 8 * 576


def test_official_differs_as_the_options_files_do(script: ModuleType) -> None:
    names = "controlled_tiny", "liif_edsr", "liif_recipe"
    tiny, official, recipe = (read(str(script.ROOT / "options" / f"train_{name}.yml")) for name in names)
    compared = unlike(script.changed(tiny, script.RECIPE["official"]), tiny)
    assert unlike(official, recipe) == compared | {"name", "train:total_iter"}


def test_trained_variants_are_kept_and_in_the_table(tmp_path: Path, run: Run) -> None:
    assert run("paper", "--variants", "MetaSR").count("iter:       2") == 1
    trained = tmp_path / "experiments" / "tiny_MetaSR_0" / "models" / "net_g_latest.pth"
    before = trained.stat().st_mtime_ns
    said = run("paper", "--variants", "MetaSR", "LIIF-x2", "--out", "both.md")
    assert said.count("iter:       2") == 1 and trained.stat().st_mtime_ns == before
    table = (tmp_path / "both.md").read_text()
    assert [line.split("|")[2].strip() for line in table.splitlines()[2:]] == ["bicubic", "MetaSR", "LIIF-x2"]
    assert table in said


def test_tables_and_figure_of_several_seeds(
    tmp_path: Path, run: Run, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = []

    def train(variant: str, options: dict[str, Any], seed: int) -> Path:
        trainings.append((variant, seed, options["train"]["total_iter"]))
        torch.manual_seed(seed + options["train"]["total_iter"])
        path, network = tmp_path / f"{options['name']}_{variant}_{seed}.pth", options["network_g"]
        checkpoint.save(path, {"network_g": network, "params": build_network(network).state_dict()})
        return path

    def alternate(works: dict[str, Callable[[], Any]], file: Path) -> dict[str, float]:
        for work in works.values():
            work()
        return {name: 0.05 if name == "MetaSR" else 0.1 for name in works}

    variants = importlib.import_module("benchmarking.variants")
    monkeypatch.setattr(script, "train", train)
    for module in (script, variants):
        monkeypatch.setattr(module, "alternate", alternate)
    monkeypatch.setattr(variants, "ProcessPoolExecutor", lambda *args: ThreadPoolExecutor(1))
    monkeypatch.setattr(variants, "LOW", (6, 5))
    monkeypatch.setattr(variants, "SIZE", (24, 20))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- decoders -->\nold\n<!-- end -->\n<!-- equal time -->\n<!-- end -->\nafter\n")
    arguments = ["--variants", "LIIF", "MetaSR", "--page", page, "--figure", tmp_path / "figure.png"]
    run("decoders", *arguments, "--seeds", 0, 1, "--iterations", 3)
    assert trainings == [(name, seed, n) for metasr in (3, 6) for seed in (0, 1)
                         for name, n in (("LIIF", 3), ("MetaSR", metasr))]  # fmt: skip
    text = page.read_text()
    assert text.startswith("before\n<!-- decoders -->\n\n| network |") and text.endswith("<!-- end -->\nafter\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    decoders, equal_time = rows[:5], rows[5:]
    assert decoders[0][-1] == equal_time[0][-1] == "photos, x2, x3.5"
    assert [row[0] for row in decoders[2:]] == [row[0] for row in equal_time[2:]] == ["bicubic", "LIIF", "MetaSR"]
    assert all(decoders[3]) and decoders[3][-1].count("±") == 2 and "±" not in decoders[2][-1]
    assert [row[5] for row in decoders[2:]] == ["", "100", "50"]
    assert [row[1] for row in equal_time[2:]] == ["", "3", "6"]
    assert decoders[3][-1] == equal_time[3][-1] and decoders[4][-1] != equal_time[4][-1]
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.width > 300


def test_iterations_stretch_warm_up_and_schedule(script: ModuleType) -> None:
    tiny = read(str(script.ROOT / "options" / "train_controlled_tiny.yml"))
    official = script.changed(tiny, script.RECIPE["official"])
    trains = [script.with_iterations(options, 1600)["train"] for options in (tiny, official)]
    assert [(train["total_iter"], train["warmup_iter"]) for train in trains] == [(1600, 100), (1600, -1)]
    assert trains[0]["scheduler"]["periods"] == [1600] and trains[1]["scheduler"]["milestones"] == [320, 640, 960, 1280]
    assert script.with_iterations(tiny, 1600)["name"] == "train_controlled_tiny_1600_iterations"
    assert script.with_iterations(tiny, 400) == tiny


def test_times_are_kept_until_a_function_is_added(tmp_path: Path, script: ModuleType) -> None:
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = script.alternate(works, tmp_path / "times.json")
    assert times.keys() == works.keys() and calls[:4] == ["a", "b", "a", "b"]
    calls.clear()
    assert script.alternate({"a": works["a"]}, tmp_path / "times.json") == times and not calls
    assert script.alternate({**works, "c": works["a"]}, tmp_path / "times.json").keys() == set("abc") and calls


def test_a_page_without_the_lines_is_refused_before_training(tmp_path: Path, run: Run) -> None:
    (tmp_path / "page.md").write_text("nothing\n")
    said = run("recipe", "--variants", "LIIF", "--page", tmp_path / "page.md", status=1)
    expected = "page.md: lacks the lines <!-- recipe --> and <!-- end --> around the table; add them\n"
    assert said.endswith(expected) and said.count("\n") == 1


def test_unknown_variant(run: Run) -> None:
    said = run("recipe", "--variants", "offical", status=1)
    assert said.startswith("controlled_run.py: error: --variants: unknown 'offical'; did you mean 'official'?")


def test_a_variant_trained_with_other_options_is_refused(tmp_path: Path, run: Run) -> None:
    (tmp_path / "experiments" / "tiny_LIIF_0").mkdir(parents=True)
    assert run("paper", "--variants", "LIIF", status=1) == (
        "controlled_run.py: error: experiments/tiny_LIIF_0: was trained with other options; move it away to train "
        "again\n"
    )


def test_a_failing_training_ends_the_run(tmp_path: Path, run: Run) -> None:
    bad = train_options(tmp_path / "none", network_g=NETWORK)
    write_options(tmp_path / "tiny.yml", bad)
    said = run("paper", "--variants", "LIIF", "LIIF-c", status=1).splitlines()
    assert said[-2].startswith("liif_basicsr: error: datasets: tiny: dataroot_gt:")
    assert said[-1] == "controlled_run.py: error: LIIF: training ended with exit status 2; see its output above"
