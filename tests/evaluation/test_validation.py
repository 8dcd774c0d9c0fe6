"""Validation by LIIFModel in BasicSR: log lines, images, values and tables for each set and scale."""
import copy
import csv

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.models import build_model
from basicsr.utils import tensor2img
from experiment import val_set
from PIL import Image

from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.validation import check_labels
from liif_basicsr.hub import checkpoint
from liif_basicsr.metrics.psnr_liif import calculate_psnr_liif

METRICS = {
    "psnr_liif": {"type": "calculate_psnr_liif"},
    "psnr": {"type": "calculate_psnr"},
    "ssim": {"type": "calculate_ssim"},
}


class Board:
    """Collects TensorBoard's values."""

    def __init__(self):
        self.values = {}

    def add_scalar(self, name, value, step):
        self.values[name] = (value, step)


def loader(images, name="A", scales=(2, [3, 2.5]), **more):
    block = val_set(name, images, list(scales), phase="val", **more)
    return build_dataloader(build_dataset(block), block, num_gpu=0)


@pytest.fixture
def validated(opt, images, lines):
    opt["val"]["metrics"] = METRICS
    model, board = build_model(opt), Board()
    model.validation(loader(images, protocol="benchmark"), 3, board, save_img=True)
    return model, board


def test_a_line_a_folder_and_values_for_each_scale(validated, lines, tmp_path):
    model, board = validated
    text = "\n".join(lines)
    for label in ("A_x2", "A_x3x2.5"):
        saved = sorted(path.name for path in (tmp_path / "visualization" / label).iterdir())
        assert saved == ["p0_3.png", "p1_3.png", "p2_3.png"]
        for metric in METRICS:
            value, step = board.values[f"metrics/{label}/{metric}"]
            assert step == 3
            assert model.best_metric_results[label][metric] == {"better": "higher", "val": value, "iter": 3}
        value = board.values[f"metrics/{label}/psnr_liif"][0]
        assert f"Validation {label}\n\t # psnr_liif: {value:.4f}\tBest: {value:.4f} @ 3 iter" in text


def rendered(model, lq, gt):
    """Return the network's output, with the size of `gt`, on the CPU."""
    return model.net_g_ema.render(lq.to(model.device), tuple(gt.shape[-2:])).cpu()


@pytest.mark.parametrize("protocol", ["benchmark", "div2k", None])
def test_values_follow_the_protocol(opt, images, protocol):
    """Recompute the metrics at each scale from the data and the network, with the protocol's border and color."""
    opt["val"]["metrics"] = METRICS
    model, board = build_model(opt), Board()
    dataset = loader(images, protocol=protocol)
    model.validation(dataset, 3, board, save_img=False)
    items = list(dataset)
    borders = {"benchmark": (2, 3), "div2k": (8, 9), None: (0, 0)}[protocol]
    for label, border, part in zip(("A_x2", "A_x3x2.5"), borders, (items[:3], items[3:]), strict=True):
        own = {"crop_border": border, "test_y_channel": protocol == "benchmark"}
        pairs = [(rendered(model, item["lq"], item["gt"]), item["gt"]) for item in part]
        in_8_bits = [[tensor2img([x]) for x in pair] for pair in pairs]
        expected = {
            "psnr_liif": [calculate_psnr_liif(*pair, **own) for pair in pairs],
            "psnr": [calculate_psnr(*pair, **own) for pair in in_8_bits],
            "ssim": [calculate_ssim(*pair, **own) for pair in in_8_bits],
        }
        for metric, values in expected.items():
            assert board.values[f"metrics/{label}/{metric}"][0] == pytest.approx(np.mean(values), abs=1e-9)


def test_a_metrics_own_options_override_the_protocol(opt, images):
    opt["val"]["metrics"] = {"psnr": {"type": "calculate_psnr_liif", "crop_border": 5, "test_y_channel": False}}
    model, board = build_model(opt), Board()
    dataset = loader(images, scales=[2], protocol="benchmark")
    model.validation(dataset, 3, board, save_img=False)
    values = [calculate_psnr_liif(rendered(model, d["lq"], d["gt"]), d["gt"], 5) for d in dataset]
    assert board.values["metrics/A_x2/psnr"][0] == pytest.approx(np.mean(values), abs=1e-9)


def test_saved_images_are_those_that_the_network_renders(validated, images, tmp_path):
    model, _ = validated
    item = loader(images).dataset[1]
    expected = rendered(model, item["lq"][None], item["gt"])[0].clamp(0, 1).numpy()
    saved = np.asarray(Image.open(tmp_path / "visualization" / "A_x2" / "p1_3.png")).transpose(2, 0, 1)
    assert np.abs(saved - 255 * expected).max() <= 0.5 + 1e-4


def test_worse_values_do_not_replace_the_best(opt, images):
    opt["val"]["metrics"] = {"psnr": {"type": "calculate_psnr_liif"}}
    model = build_model(opt)
    model.validation(loader(images), 3, None, save_img=False)
    best = copy.deepcopy(model.best_metric_results)
    with torch.no_grad():
        model.net_g_ema.decoder.layers[-1].bias += 0.5
    model.validation(loader(images), 4, None, save_img=False)
    assert model.best_metric_results == best and best["A_x2"]["psnr"]["iter"] == 3


def test_a_training_state_contains_the_results_of_its_iteration(opt, images, tmp_path):
    opt["val"]["metrics"] = METRICS
    model = build_model(opt)
    model.save(0, 3)
    model.validation(loader(images), 3, None, save_img=False)
    state = checkpoint.read_tensors(tmp_path / "training_states" / "3.state")
    assert state["best_metric_results"] == model.best_metric_results != {}


def test_best_values_of_unchanged_metrics_survive_other_metrics(opt, images, tmp_path, lines):
    opt["val"]["metrics"] = METRICS
    opt["path"]["resume_state"] = "2.state"
    model = build_model(opt)
    model.save(0, 2)
    state = checkpoint.read_tensors(tmp_path / "training_states" / "2.state")
    best = {"better": "higher", "val": 99.0, "iter": 2}
    old = {"psnr": best, "removed": best, "ssim": {**best, "better": "lower"}}
    model.resume_training({**state, "best_metric_results": {"A_x2": old}})
    assert [line for line in lines if "ssim: better has changed; its best value for A_x2, of iteration 2" in line]
    model.validation(loader(images, scales=[2]), 3, None, save_img=False)
    values = model.best_metric_results["A_x2"]
    assert values["psnr"] == values["removed"] == best and values["ssim"]["iter"] == values["psnr_liif"]["iter"] == 3


def train_pipeline(model, data, epoch):
    """Validate like BasicSR's function of this name, with its variable `epoch`."""
    model.validation(data, model.iteration, None, save_img=False)


def test_training_is_saved_if_validation_fails(opt, images, tmp_path):
    opt["val"]["metrics"] = {"psnr": {"type": "calculate_psnr_liif", "crop_border": 30}}
    model = build_model(opt)
    model.iteration = 6
    for epoch in (1, 2):  # the second time, it has been saved
        with pytest.raises(LIIFError, match="a crop_border of 30 leaves no pixels"):
            train_pipeline(model, loader(images), epoch)
    state = checkpoint.read_tensors(tmp_path / "training_states" / "6.state")
    assert (state["epoch"], state["iter"]) == (1, 6)
    checkpoint.read(tmp_path / "models" / "net_g_6.pth")


def test_the_table_is_written_at_test_time(opt, images, tmp_path):
    model = build_model(opt)
    model.save(0, 5)
    opt.update(is_train=False, val={"save_img": True, "suffix": "mine", "metrics": METRICS})
    opt["path"]["pretrain_network_g"] = str(tmp_path / "models" / "net_g_5.pth")
    tester = build_model(opt)
    tester.validation(loader(images, "A", [2]), "tiny", None, save_img=True)
    tester.validation(loader(images, "B", [1.5, 4]), "tiny", None, save_img=False)
    with open(tmp_path / "results_root" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["set"] for row in rows] == ["A_x2", "B_x1.5", "B_x4"]
    table = (tmp_path / "results_root" / "results.md").read_text().splitlines()
    assert table[0] == "| set | psnr_liif | psnr | ssim |"
    for row, line in zip(rows, table[2:], strict=True):
        assert line == f"| {row['set']} | " + " | ".join(f"{float(row[m]):.4f}" for m in METRICS) + " |"
    assert len(list((tmp_path / "visualization" / "A_x2").glob("p?_mine.png"))) == 3


def test_validation_does_not_affect_training_samples(opt, images):
    model = build_model(opt)
    state = torch.get_rng_state()
    model.validation(loader(images), 3, None, save_img=False)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"scales": [2, 3]}, {"scales": [3]}, "Set5_x3"),
        ({"scale": 3}, {"scales": [2, 3]}, "Set5_x3"),
        ({"scale": 3}, {"scales": [2]}, None),
        ({"type": "PairedImageDataset", "scale": 2}, {"scales": [2]}, None),  # BasicSR's labels have no scale
        ({"scales": [[2, 3]]}, {"scales": [[2.0, 3.0]]}, "Set5_x2x3"),
        ({"scales": [2]}, {"scales": [[2, 2]]}, "Set5_x2"),
        ({}, {}, "Set5"),
        ({"scales": [2, 3]}, {"scales": [4]}, None),
        ({"scales": [2]}, {"scales": [2], "name": "Set14"}, None),
        ({"scales": ["x"]}, {"scales": 2}, None),  # the datasets report invalid scales
    ],
)
def test_sets_with_the_same_row_of_results_are_reported(first, second, same):
    common = {"name": "Set5", "type": "ArbitraryScaleImageDataset"}
    datasets = {"train": common, "val_1": {**common, **first}, "val_2": {**common, **second}}
    if same is None:
        check_labels(datasets)
        return
    with pytest.raises(LIIFError, match=f"^datasets: val_2: name: val_1 has a set {same}, too"):
        check_labels(datasets)


def test_the_scale_at_the_top_level_counts():
    datasets = {phase: {"name": "A", "type": "ArbitraryScaleImageDataset"} for phase in ("val_1", "val_2")}
    datasets["val_1"]["scale"], datasets["val_2"]["scales"] = 3, [2]
    with pytest.raises(LIIFError, match="val_1 has a set A_x2"):
        check_labels(datasets, 2)


def test_output_that_is_not_finite_is_refused(opt, images, tmp_path):
    opt["val"]["metrics"] = METRICS
    model = build_model(opt)
    with torch.no_grad():
        model.net_g_ema.decoder.layers[-1].bias.fill_(torch.nan)
    with pytest.raises(LIIFError, match=r"val: the network's output is not finite in float32 on .*p0\.png"):
        model.validation(loader(images), 3, None, save_img=True)
    assert not list(tmp_path.rglob("p?_3.png"))


def test_image_on_a_full_disk_is_an_error(opt, images, tmp_path, monkeypatch):
    def fail(*given):
        raise OSError(28, "No space left on device")

    model = build_model(opt)
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(LIIFError, match=r"p0_3\.png: cannot be written: No space left on device"):
        model.validation(loader(images), 3, None, save_img=True)
    assert not [path for path in (tmp_path / "visualization").rglob("*") if path.is_file()]


def test_images_with_the_same_stem_do_not_overwrite_each_other(opt, images, tmp_path):
    folder = tmp_path / "same"
    folder.mkdir()
    for name in ("a.png", "a.jpg", "b.png"):
        Image.open(images / "p0.png").save(folder / name)
    model = build_model(opt)
    model.validation(loader(folder, scales=[2]), 3, None, save_img=True)
    saved = sorted(path.name for path in (tmp_path / "visualization" / "A_x2").iterdir())
    assert saved == ["a.jpg_3.png", "a.png_3.png", "b_3.png"]
