"""README and docs: links are valid, and commands and code run."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT
from pages import PAGES, Block, anchors, blocks, code_spans, links
from PIL import Image

import liif_basicsr
from liif_basicsr import hub
from liif_basicsr.archs import check_network
from liif_basicsr.archs.registry import ARCHS
from liif_basicsr.config import training
from liif_basicsr.plugin.registry import entries

ENTRIES = {(registry, name): entry for registry, name, entry in entries()}
OFFICIAL = "edsr-baseline-liif"
# Text between backticks that is a path in the repository.
PATH = re.compile(r"(?:liif_basicsr|options|scripts|tests|docs|assets)/[\w./-]+")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def each(*languages: str):
    found = blocks(*languages)
    assert found
    return pytest.mark.parametrize("block", found, ids=lambda block: block.label)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A reader's folder: a clone, a few images, and the quickstart's link to BasicSR."""
    for name in ("options", "scripts", "assets"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "basicsr").symlink_to(find_spec("basicsr").submodule_search_locations[0])
    rng = np.random.default_rng(0)
    for name, size in {
        "photo.jpg": (24, 32), "photo.png": (24, 32), "photos/a.png": (24, 32), "photos/more/b.png": (16, 20),
        "my_photos/a.png": (40, 50), "my_photos/b.jpg": (50, 40),
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(*size, 3), dtype=np.uint8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def prepare(block: Block, folder: Path, request: pytest.FixtureRequest) -> None:
    """Skip a block marked as not run, and provide the official weights to a block that uses them."""
    if block.not_run:
        pytest.skip(block.not_run)
    if OFFICIAL in block.text:
        weights = request.getfixturevalue("shared_data") / "official" / f"{OFFICIAL}.pth"
        for path in (hub.cached(OFFICIAL), folder / f"{OFFICIAL}.pth"):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(weights, path)


@each("bash")
def test_commands_run(block, folder, request):
    prepare(block, folder, request)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths),
           "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}  # fmt: skip
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each("python")
def test_python_runs(block, folder, request):
    prepare(block, folder, request)
    known = dict(ARCHS)
    try:
        exec(compile(block.text, block.label, "exec"), {"__name__": "__main__"})
    finally:  # the example of a network registers one
        ARCHS.clear()
        ARCHS.update(known)


@each("yaml")
def test_options_exist(block):
    opt = yaml.safe_load(block.text)
    if "network_g" in opt:
        check_network(opt["network_g"])
    kind = opt.get("model_type", "LIIFModel")
    model = ENTRIES["MODEL_REGISTRY", kind]
    models = {"train": model.train_options, "val": model.val_options, "logger": training.Logger, "path": training.Path}
    for name, options in models.items():
        if name in opt:
            known = set(options.model_fields)
            assert {key for key in opt[name] if not key.endswith("_opt")} <= known
    for phase, dataset in opt.get("datasets", {}).items():
        kind = dataset.get("type", "ArbitraryScaleImageDataset")
        cls = ENTRIES["DATASET_REGISTRY", kind]
        assert set(dataset) <= set((cls.train_options if phase == "train" else cls.val_options).model_fields)


@each_page
def test_links_are_valid(page):
    for link in links(page):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in anchors(path), f"{link}: expected one of {sorted(anchors(path))}"


@each_page
def test_paths_exist(page):
    for span in code_spans(page):
        if PATH.fullmatch(span.strip()):
            assert (ROOT / span).exists(), f"{span}: no such file"


def test_every_page_is_reached_from_the_readme():
    reached = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md") if "://" not in link}
    assert {path.resolve() for path in ROOT.glob("docs/*.md")} <= reached


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_first_screen_of_the_readme_shows_an_image_and_three_lines_of_code():
    first = (ROOT / "README.md").read_text().partition("## ")[0]
    assert first.index("](assets/") < first.index("**LIIF**") < first.index("```python")
    code = [line for line in first.partition("```python\n")[2].partition("```")[0].splitlines() if line]
    assert len(code) == 3


def test_the_citation_file_names_the_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == liif_basicsr.__version__
    assert citation["preferred-citation"]["year"] == 2021
