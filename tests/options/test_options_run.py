"""Every options file, made small, runs in BasicSR's pipelines: two iterations and a validation, or a test."""
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from datafiles import noise_image, save
from experiment import write_options, write_vgg
from test_options_files import FILES, options_of

from liif_basicsr.archs import build_network
from liif_basicsr.data.prepare import sets
from liif_basicsr.data.prepare.celeba_hq import celeba_hq
from liif_basicsr.data.prepare.storing import Settings, open_any, store
from liif_basicsr.hub import BUNDLED, DOWNLOADS, cached, checkpoint

# Replaces models that would be downloaded.
TEACHER = {"type": "LIIF", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1}, "hidden_dims": [8]}
SMALL = {"num_feat": 4, "num_block": 1, "num_layer": 2, "num_grow_ch": 4, "hidden_dim": 8, "num_freq": 4}
# Number of parameters of the official code, without its unused mean shifts.
COUNTS = {
    "train_liif_edsr": 1_567_299, "train_liif_rdn": 22_320_835,
    "train_lte_edsr": 1_714_243, "train_lmliif_edsr": 1_386_067, "train_srno_edsr": 2_015_299,
    "train_thera_edsr": 2_633_569,
    "train_metasr_edsr": 1_665_536, "train_metasr_rdn": 22_419_072,
    "baseline/train_edsr_x2": 1_369_859, "baseline/train_rdn_x4": 22_271_107,
    "celeba_hq/train_liif_32to256": 1_567_299, "celeba_hq/train_upsampling_32to256": 1_665_283,
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        net = build_network(options_of(name)["network_g"])
    assert sum(p.numel() for p in net.parameters()) == COUNTS[name]


def images(folder: Path, size: int, count: int = 2, name: str = "{:04}") -> Path:
    for k in range(count):
        save(folder / f"{name.format(k + 1)}.png", noise_image(size, size, seed=k))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small data at all paths in the options files."""
    root = tmp_path_factory.mktemp("world")
    data = root / "datasets"
    one, pixels = Settings(processes=1), Settings(pixels=True, processes=1)
    hr = images(data / "DIV2K" / "DIV2K_train_HR", 48)
    for folder in (data / "DIV2K" / "DIV2K_train_HR_sub", data / "photographs", data / "quickstart" / "train"):
        store(open_any(hr), folder.with_suffix(".lmdb"), one)
    for folder in (hr, data / "photographs"):
        store(open_any(hr), folder.with_suffix(".pixels"), pixels)
    images(data / "DIV2K" / "DIV2K_valid_HR", 120, count=1)
    for scale in (2, 3, 4):
        given = data / "DIV2K" / "DIV2K_train_LR_bicubic"
        lr = images(given / f"X{scale}", 48 // scale, name=f"{{:04}}x{scale}")
        store(open_any(lr), data / "DIV2K" / f"{given.name}_X{scale}.pixels", pixels)
        valid = data / "DIV2K" / "DIV2K_valid_LR_bicubic" / f"X{scale}"
        images(valid, 120 // scale, count=1, name=f"{{:04}}x{scale}")
    for name in ("Set5", "Set14"):
        images(root / "benchmark" / name, 40, count=1)
    sets.benchmark(root / "benchmark", data)
    for name in ("Kodak24", "quickstart/val"):
        images(data / name, 240, count=1)  # two blocks of NIQE
    with pytest.MonkeyPatch.context() as context:
        context.syspath_prepend(ROOT / "scripts")
        import band_sets
    for source in ("train.lmdb", "val"):
        band_sets.make(data / "quickstart" / source, data)
    store(open_any(data / "gray16" / "train", 1), data / "gray16" / "train.lmdb", one)
    teacher = {"teacher": "realesrgan-x4plus", "scale": 4}
    for kind, size in (("lq", 16), ("teacher", 64)):
        store(open_any(images(data / "made" / kind, size)), data / "photo_pairs" / f"{kind}.lmdb", one)
    (data / "photo_pairs" / "teach.json").write_text(json.dumps(teacher))
    celeba_hq(images(data / "data1024x1024", 256, count=3), data / "CelebA-HQ", 1)
    return root


def shrink(opt: dict[str, Any]) -> dict[str, Any]:
    """Reduce a training or test to seconds on the CPU."""
    opt["num_gpu"] = 0
    net, weights = opt["network_g"], opt["path"]["pretrain_network_g"]
    if weights not in BUNDLED:  # the size of bundled networks is fixed
        for block in (net, net["encoder"]):
            block |= {key: value for key, value in SMALL.items() if key in block}
        if net["type"] in ("LIIF", "LTE"):
            net["hidden_dims"] = [8] * len(net.get("hidden_dims", [256]))
    if "train" in opt:
        train_set = opt["datasets"]["train"]
        if "lq_size" in train_set:
            count = 64 * train_set["sample_q"] // train_set["lq_size"] ** 2
            train_set |= {"sample_q": 64 if train_set.get("sample") == "patch" else count, "lq_size": 8}
        if "grid_opt" in opt["train"]:  # needs larger windows
            train_set |= {"sample_q": 21**2, "lq_size": 16}
        if train_set.get("scale_range"):  # the images have six times the sides of such an input
            train_set["scale_range"] = [min(scale, 6) for scale in train_set["scale_range"]]
        train_set |= {"num_worker_per_gpu": 0, "batch_size_per_gpu": 2}
        opt["train"]["total_iter"] = 2
        opt["logger"] |= {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False}
        if opt.get("val"):
            opt["val"]["val_freq"] = 2
        if "network_d" in opt:
            opt["network_d"]["num_feat"] = 4
            opt["train"]["net_d_init_iters"] = 0
        if opt["train"].get("perceptual_opt"):
            opt["train"]["perceptual_opt"] |= {"vgg_type": "vgg11", "layer_weights": {"conv1_1": 1}}
    return opt


def provide(opt: dict[str, Any]) -> None:
    """Write the files of a preceding training or download."""
    teacher = (opt.get("train", {}).get("teacher") or {}).get("path")
    for weights in {opt["path"]["pretrain_network_g"], teacher} - {None, *BUNDLED}:
        network = TEACHER if weights in DOWNLOADS else opt["network_g"]
        path = cached(weights) if weights in DOWNLOADS else Path(weights)
        params = build_network(network).state_dict()
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(path, {"network_g": network, "params": params, "params_ema": params})
    if opt.get("train", {}).get("perceptual_opt"):
        write_vgg()


@pytest.mark.filterwarnings("ignore:.*pretrained.*:UserWarning", "ignore:.*weight enum.*:UserWarning")
@pytest.mark.parametrize("name", FILES)
def test_options_file_runs(name: str, world: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    import basicsr.test
    import basicsr.train

    opt = shrink(options_of(name))
    monkeypatch.chdir(world)
    monkeypatch.setenv("XDG_CACHE_HOME", str(world / "cache"))
    provide(opt)
    monkeypatch.setattr(sys, "argv", ["run.py", "-opt", str(write_options(world / f"{opt['name']}.yml", opt))])
    said = list(opt["datasets"].values())[-1]["name"]
    if "train" in opt:
        basicsr.train.train_pipeline(str(world))
        net = checkpoint.load(world / "experiments" / opt["name"] / "models" / "net_g_2.pth")
        assert net.render(torch.rand(1, net.num_in_ch, 5, 6), (11, 13)).isfinite().all()
    else:
        basicsr.test.test_pipeline(str(world))
        assert said in (world / "results" / opt["name"] / "results.md").read_text()
    assert any(f"Validation {said}" in line for line in lines) or not opt.get("val")
