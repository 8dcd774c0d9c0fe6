"""The options files of the paper's tables differ only in the options that a table compares."""
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from liif_basicsr.data.prepare.storing import Settings
from liif_basicsr.launch.options import read

OPTIONS = ROOT / "options"
FILES = sorted(str(path.relative_to(OPTIONS).with_suffix("")) for path in OPTIONS.rglob("*.yml"))
EDSR = {"type": "EDSR", "num_feat": 64, "num_block": 16}
RDN = {"type": "RDN", "num_feat": 64, "num_block": 16, "num_layer": 8, "num_grow_ch": 64}
# File -> differences from train_liif_edsr.yml, except its name. Source: paper, section 4.
ROWS: dict[str, dict[str, Any]] = {
    "train_liif_rdn": {"network_g:encoder": RDN},
    "train_metasr_edsr": {"network_g": {"type": "MetaSR", "encoder": EDSR, "hidden_dim": 256}},
    "train_metasr_rdn": {"network_g": {"type": "MetaSR", "encoder": RDN, "hidden_dim": 256}},
    "train_lte_edsr": {
        "network_g": {"type": "LTE", "encoder": EDSR, "hidden_dims": [256] * 3, "num_freq": 128, "max_scale": 4}
    },
    "train_lmliif_edsr": {
        "network_g": {
            "type": "LMLIIF", "encoder": EDSR, "latent_dims": [208], "render_dim": 16, "render_depth": 6,
            "local_ensemble": True, "feat_unfold": True, "cell_decode": True,
            "mod_input": True, "mod_scale": True, "mod_shift": True, "max_scale": 4,
        },
        "train:total_iter": 1_200_000,
        "train:scheduler:milestones": [200_000, 400_000, 600_000, 800_000, 1_000_000],
    },
    "train_liif_recipe": {  # docs/comparison.md
        "network_g:input_skip": "bilinear",
        "train:optim_g:lr": 1e-3,
        "train:scheduler": {
            "type": "CosineAnnealingRestartLR", "periods": [100_000], "restart_weights": [1], "eta_min": 1e-6,
        },
        "train:total_iter": 100_000,
        "train:warmup_iter": 6000,
    },
    "ablation/train_liif_edsr_c": {"network_g:cell_decode": False},
    "ablation/train_liif_edsr_u": {"network_g:feat_unfold": False},
    "ablation/train_liif_edsr_e": {"network_g:local_ensemble": False},
    "ablation/train_liif_edsr_d": {"network_g:hidden_dims": [256, 256]},
    "ablation/train_liif_edsr_x2": {"datasets:train:scale_range": [2, 2]},
    "ablation/train_liif_edsr_x3": {"datasets:train:scale_range": [3, 3]},
    "ablation/train_liif_edsr_x4": {"datasets:train:scale_range": [4, 4]},
}  # fmt: skip


def baseline(encoder: dict[str, Any], scale: int) -> dict[str, Any]:
    """Differences of a fixed-scale network, as in `train_edsr-baseline-x2.yaml` of the official code."""
    paired = {
        "type": "ArbitraryScalePairedDataset", "dataroot_gt": "datasets/DIV2K/DIV2K_train_HR.pixels",
        "dataroot_lq": "datasets/DIV2K/DIV2K_train_LR_bicubic_X{scale}.pixels", "filename_tmpl": "{}x{scale}",
        "io_backend": {"type": "pixels"}, "scales": [scale], "sample_q": (48 * scale) ** 2, "scale_range": None,
        "dataset_enlarge_ratio": 20,
    }  # fmt: skip
    return {
        **{f"datasets:train:{key}": value for key, value in paired.items()},
        "datasets:val_1:scales": [scale],
        "network_g": {"type": "PixelShuffleSR", "encoder": encoder, "scale": scale},
    }


for scale in (2, 3, 4):
    ROWS[f"baseline/train_edsr_x{scale}"] = baseline(EDSR, scale)
    ROWS[f"baseline/train_rdn_x{scale}"] = baseline(RDN, scale)


def options_of(name: str) -> dict[str, Any]:
    return read(str(OPTIONS / f"{name}.yml"))


def change(options: dict[str, Any], keys: str, value: Any) -> None:
    """Set the option `block:option`; None removes it."""
    *path, last = keys.split(":")
    for key in path:
        options = options[key]
    assert options.get(last) != value or value is None
    options[last] = value
    if value is None:
        del options[last]


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_papers_tables(name):
    expected = options_of("train_liif_edsr")
    for keys, value in {"name": Path(name).name, **ROWS[name]}.items():
        change(expected, keys, value)
    assert options_of(name) == expected


@pytest.mark.parametrize("name", FILES)
def test_name_and_command_in_options_file(name):
    path = OPTIONS / f"{name}.yml"
    text, script = path.read_text(), path.name.partition("_")[0]
    assert options_of(name)["name"] == path.stem
    place = path.relative_to(ROOT)
    runs = [f"python basicsr/{script}.py -opt {place}", f"python -m liif_basicsr.{script} -opt {place}"]
    assert any(run in text for run in runs) or path.stem.startswith("train_controlled")  # which a script runs


def test_sub_images_hold_the_largest_crop():
    """The command in a file's comments makes sub-images large enough for `lq_size` at the largest scale."""
    found = {}
    for name in FILES:
        data = options_of(name).get("datasets", {}).get("train", {})
        if data.get("type") == "ArbitraryScaleImageDataset" and data["io_backend"]["type"] == "lmdb":
            crop = re.search(r"--crop (\d+)", (OPTIONS / f"{name}.yml").read_text())
            found[name] = int(crop[1]) if crop else Settings().crop
            assert data["lq_size"] * max(data["scale_range"]) <= found[name], name
    assert found["train_liif_fast_finetune"] == 256 and len(found) > 10
