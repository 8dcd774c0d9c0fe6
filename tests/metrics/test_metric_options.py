"""Options in `val: metrics` are checked before training.

A protocol's options are passed only to the metrics that take them.
"""
import numpy as np
import pytest
import torch
from basicsr.utils.registry import METRIC_REGISTRY

from liif_basicsr.config.base import with_defaults
from liif_basicsr.config.training import Val
from liif_basicsr.errors import LIIFError
from liif_basicsr.evaluation.validation import measure, per_band
from liif_basicsr.metrics.psnr_liif import calculate_psnr_liif
from liif_basicsr.models.checks import check_metrics


@pytest.fixture
def own_metrics():
    """Register two metrics as another project would: one takes no options, the other any options."""

    def calculate_rmse(img, img2):
        return float(np.sqrt(((img.astype(float) - img2) ** 2).mean()))

    def calculate_any(img, img2, **kwargs):
        return kwargs["crop_border"] + kwargs.get("extra", 0)

    for function in (calculate_rmse, calculate_any):
        METRIC_REGISTRY.register(function)
    yield
    for name in ("calculate_rmse", "calculate_any"):
        del METRIC_REGISTRY._obj_map[name]


def test_protocol_options_go_to_metrics_that_have_them(own_metrics):
    output, gt = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.2)
    metrics = {"rmse": {"type": "calculate_rmse", "better": "lower"}, "any": {"type": "calculate_any", "extra": 10}}
    check_metrics(metrics)
    assert measure(output, gt, metrics, {"crop_border": 2, "test_y_channel": True}) == [51, 12]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"type": "calculate_psnr", "test_y_chanel": True}, "val: metrics: p: .*test_y_chanel.*mean 'test_y_channel'"),
        ({"type": "calculate_psnr_liif", "border": 3}, "val: metrics: p: .*'border'"),
        ({"type": "calculate_rmse", "crop_border": 3}, "val: metrics: p: .*crop_border"),
    ],
    ids=str,
)
def test_a_wrong_option_of_a_metric_is_an_error_at_the_start(own_metrics, metric, message):
    with pytest.raises(LIIFError, match=message):
        check_metrics({"p": metric})


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"type": "calculate_psnr", "better": "Higher"}, "val: metrics: p: better: .*higher.*'Higher'"),
        ({"type": "calculate_psnr", "crop_border": -1}, "val: metrics: p: crop_border: .*-1"),
        ({"type": "calculate_psnr", "crop_border": "4"}, "val: metrics: p: crop_border: .*'4'"),
        ({"type": "calculate_psnr", "crop_border": 1.5}, "val: metrics: p: crop_border: .*1.5"),
        ({"type": "calculate_psnr", "crop_border": True}, "val: metrics: p: crop_border: .*True"),
        ({"type": "calculate_psnr_liif", "data_range": 0}, "val: metrics: p: data_range: .*0"),
        ({"type": "calculate_psnr_liif", "band": "nir"}, "val: metrics: p: band: .*'nir'"),
        ({"type": "calculate_psnr_liif", "per_band": "psnr"}, "val: metrics: p: per_band: .*'psnr'"),
        ({"type": "calculate_psnr_liif", "test_y_channel": "yes"}, "val: metrics: p: test_y_channel: .*'yes'"),
    ],
    ids=str,
)
def test_invalid_values_of_metric_options(metric, message):
    with pytest.raises(LIIFError, match=message):
        with_defaults(Val, {"save_img": False, "metrics": {"p": metric}}, "val")


@pytest.mark.parametrize("kind", ["calculate_psnr", "calculate_ssim", "calculate_psnr_liif", "calculate_niqe"])
def test_a_border_larger_than_the_image_is_an_error(kind):
    output, gt = torch.rand(1, 3, 8, 20), torch.rand(1, 3, 8, 20)
    with pytest.raises(LIIFError, match="val: metrics: p: a crop_border of 4 leaves no pixels of an image of 8x20"):
        measure(output, gt, {"p": {"type": kind}}, {"crop_border": 4})


def test_niqe_of_a_small_image_is_an_error():
    image, block = torch.rand(1, 3, 96, 200), {"n": {"type": "calculate_niqe"}}
    assert measure(image, image, block, {"crop_border": 0})[0] > 0
    with pytest.raises(LIIFError, match="val: metrics: n: NIQE needs two blocks .* without its border has 94x198;"):
        measure(image, image, block, {"crop_border": 1})


def test_per_band():
    metrics = {"psnr": {"type": "calculate_psnr_liif", "better": "higher", "per_band": True},
               "ssim": {"type": "calculate_ssim", "crop_border": 0}}  # fmt: skip
    expanded = per_band(metrics, 4)
    assert list(expanded) == ["psnr", "psnr_band1", "psnr_band2", "psnr_band3", "psnr_band4", "psnr_mean", "ssim"]
    assert per_band(expanded, 4) == expanded
    gt = torch.rand(1, 4, 16, 16)
    output = gt + torch.tensor([0.01, 0.02, 0.03, 0.04]).view(1, 4, 1, 1)
    values = dict(zip(expanded, measure(output.clamp(0, 1), gt, expanded, {}, rounded=False), strict=True))
    bands = [values[f"psnr_band{k}"] for k in range(1, 5)]
    assert bands == sorted(bands, reverse=True) and values["psnr_mean"] == pytest.approx(np.mean(bands))
    assert values["psnr"] < values["psnr_mean"]


def test_data_range_is_in_the_unit_of_the_data():
    """PSNR falls by 20 dB if `data_range` is a tenth of the span of `value_range`."""
    metrics = {"all": {"type": "calculate_psnr_liif"}, "peak": {"type": "calculate_psnr_liif", "data_range": 2.5}}
    whole, peak = measure(*torch.rand(2, 1, 1, 8, 8), metrics, {}, False, (-5, 20))
    assert peak == pytest.approx(whole - 20)


def test_ssim_of_any_number_of_channels():
    """BasicSR's SSIM averages over channels."""
    output, gt = torch.rand(2, 1, 5, 16, 16)
    block = {"ssim": {"type": "calculate_ssim", "crop_border": 0}}
    single = [measure(output[:, k : k + 1], gt[:, k : k + 1], block, {}, rounded=False)[0] for k in range(5)]
    assert measure(output, gt, block, {}, rounded=False) == pytest.approx([np.mean(single)])


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"type": "calculate_ssim", "crop_border": 0, "per_band": True}, "calculate_ssim has no argument 'per_band'"),
        ({"type": "calculate_psnr_liif", "band": 5}, "val: metrics: p: band: is 5, but the images have 4"),
        ({"type": "calculate_niqe", "crop_border": 0}, "calculate_niqe needs gray or RGB images, but these have 4"),
    ],
)
def test_bands_that_do_not_exist(metric, message):
    with pytest.raises(LIIFError, match=message):
        check_metrics({"p": metric}, channels=4)


def test_niqe_needs_its_direction_in_training():
    """Without `better: lower`, the checkpoint with the worst value would be kept as the best."""
    niqe = {"type": "calculate_niqe", "crop_border": 0}
    check_metrics({"n": niqe})
    check_metrics({"n": {**niqe, "better": "lower"}}, is_train=True)
    with pytest.raises(LIIFError, match="val: metrics: n: better: lower values of calculate_niqe are better"):
        check_metrics({"n": niqe}, is_train=True)


@pytest.mark.parametrize("values", [np.zeros((8, 8, 3)), torch.zeros(3, 8, 8).byte()], ids=["array", "tensor"])
def test_psnr_refuses_values_of_unknown_range(values):
    with pytest.raises(LIIFError, match="expected a float tensor or a uint8 array, got"):
        calculate_psnr_liif(values, values)


@pytest.mark.parametrize("border", [-1, "2", 1.5])
def test_psnr_refuses_invalid_borders(border):
    with pytest.raises(LIIFError, match="calculate_psnr_liif: crop_border: "):
        calculate_psnr_liif(torch.rand(3, 8, 8), torch.rand(3, 8, 8), crop_border=border)
