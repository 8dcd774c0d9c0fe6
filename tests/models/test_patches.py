"""Samples that are windows of an image, and the losses that need them."""
from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from datafiles import build, noise_image, paired_train_block, refused, save, train_block
from experiment import VGG, make_images, model_options, write_vgg
from hypothesis import given
from hypothesis import strategies as st

from liif_basicsr.data.decode import to_tensor
from liif_basicsr.data.sampling import generator, sample_patch
from liif_basicsr.losses.grid_loss import GridLoss
from liif_basicsr.losses.texture_loss import TextureLoss
from liif_basicsr.models.losses import as_images
from liif_basicsr.rendering.coordinates import make_coord

pytestmark = pytest.mark.cpu  # as in the datasets
PERCEPTUAL = {"type": "PerceptualLoss", "layer_weights": {"conv1_1": 1.0, "conv2_1": 0.5}, "vgg_type": "vgg11"}


@given(height=st.integers(1, 30), width=st.integers(1, 30), data=st.data())
def test_a_patch_is_a_window_of_the_image_row_by_row(height: int, width: int, data: Any) -> None:
    side = data.draw(st.integers(1, min(height, width)))
    image = noise_image(height, width)
    coord, rgb = sample_patch(image[::-1, ::-1], side**2, generator())
    whole = make_coord((height, width)).view(height, width, 2)
    top, left = ((whole == coord[0]).all(-1)).nonzero()[0].tolist()
    window = slice(top, top + side), slice(left, left + side)
    assert torch.equal(coord, whole[window].reshape(-1, 2))
    assert torch.equal(as_images(rgb[None])[0].permute(1, 2, 0), to_tensor(image[::-1, ::-1][window].copy()))


def test_all_windows_of_an_image_are_drawn() -> None:
    torch.manual_seed(0)
    image = noise_image(4, 5)
    assert len({tuple(sample_patch(image, 4, generator())[0][0].tolist()) for _ in range(200)}) == 3 * 4


def test_items_of_both_datasets_can_be_patches(tmp_path: Path) -> None:
    for scale in (2, 3):
        save(tmp_path / f"gt{scale}" / "a.png", noise_image(20 * scale, 20 * scale))
        save(tmp_path / f"lq{scale}" / "a.png", noise_image(20, 20))
    pairs = str(tmp_path / "gt{scale}"), str(tmp_path / "lq{scale}")
    for block in (train_block(tmp_path / "gt3", scale_range=[1, 2]), paired_train_block(*pairs)):
        item = build({**block, "sample": "patch", "sample_q": 81, "io_backend": {"type": "disk"}})[0]
        y, x = as_images(item["coord"][None])[0]
        assert y.shape == (9, 9) and (y[:, 1:] == y[:, :-1]).all() and (x[1:] == x[:-1]).all()
        torch.testing.assert_close(y[1:] - y[:-1], item["cell"][0, 0].expand(8, 9), rtol=0, atol=1e-6)


def test_patches_must_be_square_and_fit_the_crop(tmp_path: Path) -> None:
    save(tmp_path / "gt" / "a.png", noise_image(60, 60))
    save(tmp_path / "lq" / "a.png", noise_image(20, 20))
    patch = train_block(tmp_path / "gt", sample="patch", scale_range=[1, 2])
    refused(lambda: build({**patch, "sample_q": 80}), "sample_q: expected a square number", "got 80")
    refused(lambda: build({**patch, "sample_q": 169}), "sample_q is 169", "square in the smallest crop has 144 pixels")
    refused(lambda: build({**patch, "sample": "patches"}), "sample: expected one of pixels, patch")
    save(tmp_path / "wide" / "a.png", noise_image(20, 60))
    paired = paired_train_block(tmp_path / "wide", tmp_path / "lq", sample="patch", sample_q=289, scales=[[1, 3]])
    refused(lambda: build(paired), "sample_q is 289", "square in the smallest crop has 144 pixels")


# A perceptual loss ------------------------------------------------------------------------------------------


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the options of a run on patches with a perceptual loss. The weights of VGG do not exist yet."""
    monkeypatch.chdir(tmp_path)
    opt = model_options(tmp_path, make_images(tmp_path / "images", 2, (40, 40)))
    opt["datasets"]["train"] |= {"sample": "patch", "phase": "train", "lq_size": 8, "sample_q": 64}
    opt["train"]["perceptual_opt"] = PERCEPTUAL
    return opt


@pytest.mark.filterwarnings("ignore:.*pretrained.*:UserWarning", "ignore:.*weight enum.*:UserWarning")
def test_basicsrs_perceptual_loss_trains_on_windows(options: dict[str, Any]) -> None:
    from liif_basicsr.models.liif_model import LIIFModel

    write_vgg()
    model = LIIFModel(options)
    dataset = build(options["datasets"]["train"])
    items = [dataset[0], dataset[1]]
    batch = {key: torch.stack([item[key] for item in items]) for key in ("lq", "coord", "cell", "gt")}
    model.feed_data(batch)
    model.optimize_parameters(1)
    output = model.output.detach().unflatten(1, (8, 8)).permute(0, 3, 1, 2)
    gt = batch["gt"].unflatten(1, (8, 8)).permute(0, 3, 1, 2)
    (perceptual,) = (loss for loss in model.losses if loss.names == ("l_percep", "l_style"))
    loss = perceptual.module(output, gt)[0]
    assert model.get_current_log()["l_percep"] == pytest.approx(loss.item(), rel=1e-5)
    assert "l_pix" in model.get_current_log()
    model.losses = [perceptual]
    first = model.get_current_log()["l_percep"]
    for k in range(2, 12):
        model.feed_data(batch)
        model.optimize_parameters(k)
    assert model.get_current_log()["l_percep"] < first


@pytest.mark.filterwarnings("ignore:.*pretrained.*:UserWarning", "ignore:.*weight enum.*:UserWarning")
def test_a_perceptual_loss_on_single_pixels_or_without_weights_is_reported(options: dict[str, Any]) -> None:
    from liif_basicsr.models.liif_model import LIIFModel

    refused(lambda: LIIFModel.check_options(options), "train: perceptual_opt", VGG, "https://download.pytorch.org")
    Path(VGG).parent.mkdir(parents=True)
    Path(VGG).write_bytes(b"PK" * 500)
    refused(lambda: LIIFModel.check_options(options), VGG, "not a checkpoint, or damaged")
    torch.save({"features.0.weight": torch.zeros(3)}, VGG)  # of another network
    refused(lambda: LIIFModel(options), "train: perceptual_opt: Error(s) in loading state_dict for VGG")
    options["datasets"]["train"]["sample"] = "pixels"
    refused(lambda: LIIFModel.check_options(options), "train: perceptual_opt", "sample: patch")


# Losses on texture and on the grid of the input's pixels -----------------------------------------------------


@pytest.fixture
def textured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a run with both losses on 22x22 windows, from 11x11 inputs."""
    monkeypatch.chdir(tmp_path)
    opt = model_options(tmp_path, make_images(tmp_path / "images", 2, (60, 60)))
    opt["datasets"]["train"] |= {"sample": "patch", "phase": "train", "lq_size": 11, "sample_q": 484}
    opt["datasets"]["train"]["scale_range"] = [2.2, 4]
    opt["train"]["texture_opt"] = {"type": "TextureLoss", "loss_weight": 3.0}
    opt["train"]["grid_opt"] = {"type": "GridLoss", "loss_weight": 5.0}
    return opt


def test_texture_and_grid_of_windows_are_among_the_losses(textured: dict[str, Any]) -> None:
    from liif_basicsr.models.liif_model import LIIFModel

    model, dataset = LIIFModel(textured), build(textured["datasets"]["train"])
    items = [dataset[0], dataset[1]]
    model.feed_data({key: torch.stack([item[key] for item in items]) for key in ("lq", "coord", "cell", "gt")})
    model.optimize_parameters(1)
    images, log = [as_images(each.detach()) for each in (model.output, model.gt)], model.get_current_log()
    # A cell is 2 / H high, where H is the height of the upscaled image. The input is 11 pixels high.
    pitch = 2 / torch.stack([item["cell"].view(-1, 2)[0] for item in items]) / 11
    assert log["l_texture"] == pytest.approx(TextureLoss(3.0)(*images).item(), rel=1e-5)
    assert log["l_grid"] == pytest.approx(5 * GridLoss().compare(*images, pitch).item(), rel=1e-3)
    assert log["l_grid"] > 0


def test_losses_on_windows_that_do_not_fit_are_reported(textured: dict[str, Any]) -> None:
    from liif_basicsr.models.liif_model import LIIFModel

    def refuses(*parts: str) -> None:
        refused(lambda: LIIFModel(copy.deepcopy(textured)), *parts)

    train, data = textured["train"], textured["datasets"]["train"]
    data["sample_q"] = 400
    refuses("train: grid_opt: needs patches of at least 21x21 pixels", "sample_q: 441 or more")
    train["grid_opt"], train["texture_opt"]["windows"] = None, [3, 9]
    refuses("train: texture_opt: windows of 9 pixels need images of at least 22x22", "sample_q: 484 or more")
    train["texture_opt"] = {"type": "TextureLos"}
    refuses("train: texture_opt", "TextureLos")
    train["texture_opt"] = {"type": "TextureLoss"}
    data["sample"] = "pixels"
    refuses("train: texture_opt: TextureLoss compares images", "sample: patch")
