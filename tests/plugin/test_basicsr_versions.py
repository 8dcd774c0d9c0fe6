"""A project's training script runs with every supported BasicSR, built from its released source."""
from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from conftest import Environment
from experiment import make_images, train_options, val_set, write_options

from liif_basicsr import load
from liif_basicsr.plugin import install_basicsr

PROJECT = Path(__file__).parents[1] / "other_project"
METRICS = {"psnr": {"type": "calculate_psnr_liif"}, "ssim": {"type": "calculate_ssim", "crop_border": 0}}


@pytest.mark.parametrize("version", ["1.3.4.9", "1.4.2"])
def test_a_project_trains_and_validates(environment: Environment, tmp_path: Path, version: str) -> None:
    if not install_basicsr.has_wheel("setuptools"):
        pytest.skip("pip reaches no package index")
    with zipfile.ZipFile(install_basicsr.build(f"basicsr=={version}", tmp_path / "build")) as wheel:
        wheel.extractall(environment.site)
    environment.add_plugin()
    shutil.copytree(PROJECT, environment.work, dirs_exist_ok=True)
    images = make_images(tmp_path / "images", 2)
    opt = train_options(images, total_iter=2, val={"val_freq": 2, "save_img": False, "metrics": METRICS})
    opt["datasets"]["val"] = val_set("images", images, [2])
    options = write_options(environment.work / "options.yml", opt)
    said = environment.run(environment.work / "train.py", "-opt", options).stderr
    assert f"BasicSR: {version}\n" in said
    assert "iter:       2" in said and "# psnr:" in said and "# ssim:" in said
    load(environment.work / "experiments" / "tiny" / "models" / "net_g_latest.pth")
