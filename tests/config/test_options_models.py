"""Models of options: one-line messages, strict types, near misses, and models derived from signatures."""
from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from liif_basicsr.config import training
from liif_basicsr.config.base import (
    Block,
    OpenBlock,
    PositiveInt,
    ScaleRange,
    Scales,
    arguments_model,
    check_arguments,
    refuse_text_numbers,
    validate,
)
from liif_basicsr.config.datasets import PipelineTrainingSet, ValidationSet
from liif_basicsr.config.file import check_top_level
from liif_basicsr.config.scales import scale_pair, scale_text
from liif_basicsr.errors import LIIFError


class Part(OpenBlock):
    type: Literal["A"]
    rates: list[float] = []


class Example(Block):
    size: PositiveInt
    scales: Scales | None = None
    scale_range: ScaleRange | None = None
    kind: Literal["x", "y"] = "x"
    part: Part | None = None
    parts: dict[str, Part] = {}
    several: list[Part] = []


class Network:
    """A network.

    Args:
        encoder: `type` and arguments,
            on two lines.
        hidden_dims, other: widths. Two sentences.

    Raises:
        LIIFError: never.
    """

    def __init__(
        self,
        encoder: dict[str, Any],
        hidden_dims: Sequence[int] = (1,),
        other: bool = True,
        halo: Annotated[int, Field(ge=0)] | None = None,
        skip: Literal["bilinear"] | None = None,
        rate: float = 1,
    ) -> None: ...


def refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(LIIFError) as caught:
        call()
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (3, "expected a block of options, got 3"),
        ({}, "option 'size' is missing"),
        ({"sise": 3}, "unknown option 'sise'; did you mean 'size'?"),
        ({"size": "x"}, "size: expected an integer of at least 1, got 'x'"),
        ({"size": "3"}, "size: expected an integer of at least 1, got '3'; YAML reads '3' as text, so remove the "
         "quotes"),
        ({"size": True}, "size: expected an integer of at least 1, got True"),
        ({"size": 3.0}, "size: expected an integer of at least 1, got 3.0"),
        ({"size": 1, "kind": "z"}, "kind: expected one of x, y, got 'z'"),
        ({"size": 1, "scales": [2, 2]}, "scales: expected a list of different scales"),
        ({"size": 1, "scales": [2, "3"]}, "scales: expected a list of different scales"),
        ({"size": 1, "scale_range": [4, 1]}, "scale_range: expected a pair [lowest, highest]"),
        ({"size": 1, "part": {"type": "B"}}, "part: type: expected 'A', got 'B'"),
        ({"size": 1, "part": {"type": "A", "rate": [1]}}, "part: unknown option 'rate'; did you mean 'rates'?"),
        ({"size": 1, "part": {"type": "A", "rates": ["2e5"]}}, "part: rates: expected a list of numbers, got ['2e5']; "
         "YAML reads '2e5' as text, so write !!float 2e5"),
        ({"size": 1, "part": {"type": "A", "other": {"eps": "1e-4"}}}, "part: other: eps: expected a number, got"),
        ({"size": 1, "parts": {"b": {"type": "A", "rates": 3}}}, "parts: b: rates: expected a list of numbers, got 3"),
        ({"size": 1, "parts": {"b": 3}}, "parts: b: expected a block of options, got 3"),
        ({"size": 1, "several": [{"type": "A"}, {}]}, "several: option 'type' is missing"),
    ],
    ids=str,
)  # fmt: skip
def test_message(block: Any, message: str) -> None:
    refused(lambda: validate(Example, block, "where"), f"where: {message}")


def test_scales_become_pairs() -> None:
    assert validate(Example, {"size": 1, "scales": [2, [2, 3.5]]}).scales == [(2, 2), (2, 3.5)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "option 'encoder' is missing"),
        ({"encoder": {}, "hidden_dim": [1]}, "unknown option 'hidden_dim'; did you mean 'hidden_dims'?"),
        ({"encoder": {}, "hidden_dims": [256, 0]}, "hidden_dims: expected a list of integers from 1 to 10000, got"),
        ({"encoder": {}, "halo": -1}, "halo: expected an integer from 0 to 10000, got -1"),
        ({"encoder": {}, "halo": 10**6}, "halo: expected an integer from 0 to 10000, got 1000000"),
        ({"encoder": {}, "skip": "nearest"}, "skip: expected 'bilinear', got 'nearest'"),
        ({"encoder": {}, "rate": float("nan")}, "rate: expected a number from 0 to 10000, got nan"),
        ({"encoder": {}, "rate": "1e-4"}, "rate: expected a number from 0 to 10000, got '1e-4'; YAML reads"),
        ({"encoder": {"arch": [{"eps": "1e-4"}]}}, "encoder: arch: eps: expected a number, got '1e-4'"),
        ({"encoder": {"num_feat": 10**9}}, "encoder: num_feat: expected a number from -10000 to 10000, got 1000000000"),
    ],
    ids=str,
)
def test_arguments_follow_the_signature(arguments: dict[str, Any], message: str) -> None:
    refused(lambda: check_arguments(Network, arguments, "network_g"), f"network_g: {message}")


def test_descriptions_come_from_the_docstring() -> None:
    fields = arguments_model(Network).model_fields
    assert fields["encoder"].description == "`type` and arguments, on two lines"
    assert fields["hidden_dims"].description == fields["other"].description == "widths. Two sentences."
    assert fields["halo"].description is None


def test_arguments_without_annotations() -> None:
    def metric(img, img2, crop_border, **kwargs): ...

    given = {"img": 0, "img2": 0, "crop_border": 3, "other": 1}
    check_arguments(metric, given, "metric")
    refused(lambda: check_arguments(metric, {**given, "crop_border": "4"}, "metric"), "metric: crop_border: expected")


@pytest.mark.filterwarnings("error")
def test_defaults_that_json_lacks() -> None:
    def network(width: int = 1, norm: Any = object): ...

    refused(lambda: check_arguments(network, {"norms": 1}, "a"), "a: unknown option 'norms'; did you mean 'norm'?")
    refused(lambda: check_arguments(network, {"width": "1"}, "a"), "a: width: expected an integer from 1 to 10000")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_as_text_are_found(number: float) -> None:
    refuse_text_numbers({"a": [number, "a name", "1conv", "x2", "2x"]})
    with pytest.raises(ValueError, match="a: b: expected a number"):
        refuse_text_numbers({"a": [{"b": str(number)}]})


@given(st.floats(1, 9999), st.floats(1, 9999))
def test_scale_pair(along_y: float, along_x: float) -> None:
    assert scale_pair([along_y, along_x], 1) == (along_y, along_x)
    assert scale_pair(along_y) == (along_y, along_y)
    with pytest.raises(ValueError, match="of at least 1 and below 10000"):
        scale_pair(1 / along_y - 1e-9, 1)


def test_scale_text() -> None:
    assert [scale_text((2, 2)), scale_text((2.5, 2.5)), scale_text((2, 3.5))] == ["2", "2.5", "2x3.5"]


# The blocks of an options file ----------------------------------------------------------------------------------

TRAIN = {
    "total_iter": 100,
    "optim_g": {"type": "Adam", "lr": 1e-4},
    "scheduler": {"type": "MultiStepLR", "milestones": [50]},
    "pixel_opt": {"type": "L1Loss"},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema_decay": 1}, "ema_decay: expected a number of at least 0 and below 1, got 1"),
        ({"scheduler": {"type": "MultiStepLR", "milestones": ["2e5"]}}, "scheduler: milestones: expected a list"),
        ({"scheduler": {"type": "MultiStepLR", "milestones": [50.5]}}, "scheduler: milestones: expected a list of"),
        ({"scheduler": {"type": "Cosine"}}, "scheduler: type: unknown type 'Cosine'"),
        ({"optim_g": {"type": "Adam", "lr": 0}}, "optim_g: lr: expected a number above 0, got 0"),
        ({"pixel_opt": {"type": "L1Loss", "loss_weight": 0}}, "every loss has weight 0"),
        ({"pixel_opt": None, "perceptual_opt": {"type": "P", "perceptual_weight": 0}}, "every loss has weight 0"),
        ({"pixel_opt": None, "teacher": {"path": "x", "weight": 0}}, "every loss has weight 0"),
        ({"pixel_opt": {"type": "L1Loss", "reduction": "none"}}, "pixel_opt: reduction: expected one of mean, sum"),
        ({"pixel_opt": {"type": "CharbonnierLoss", "eps": "1e-12"}}, "pixel_opt: eps: expected a number, got '1e-12'"),
        ({"perceptual_opt": {"type": "P", "layer_weights": {"conv5_4": "1"}}}, "perceptual_opt: layer_weights: conv"),
        ({"perceptual_opt": {"type": "P", "layer_weights": {"type": -1}}},
         "perceptual_opt: layer_weights: type: expected a number of at least 0, got -1"),
        ({"perceptual_opt": {"type": "P", "perceptual_weight": "1e-2"}}, "perceptual_opt: perceptual_weight: expected"),
        ({"texture_opt": {"type": "TextureLoss", "loss_weight": "1e-2"}}, "texture_opt: loss_weight: expected"),
        ({"texture_opt": {"type": "TextureLoss", "windows": [3, "5"]}}, "texture_opt: windows: expected a number"),
        ({"texture_opt": 3}, "texture_opt: expected a block of options, got 3"),
        ({"gan_opt": {"type": "GANLoss"}}, "unknown option 'gan_opt'"),
        ({"pixle_opt": {"type": "L1Loss"}}, "unknown option 'pixle_opt'; did you mean 'pixel_opt'?"),
        ({"optim_g": {"type": "Adam", "lr": 1e-4, "weight_decy": 0}}, "optim_g: unknown option 'weight_decy'; did you"),
        ({"optim_g": {"type": "Adam", "lr": 1e-4, "betas": [0.9, "0.99"]}}, "optim_g: betas: expected a list of"),
    ],
    ids=str,
)
def test_train(changes: dict[str, Any], message: str) -> None:
    validate(training.Train, TRAIN, "train")
    refused(lambda: validate(training.Train, {**TRAIN, **changes}, "train"), f"train: {message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"net_d_init_iters": 100}, "net_d_init_iters: the generator's first step would be iteration 101, after total"),
        ({"net_d_iters": 101}, "net_d_iters: the generator's first step would be iteration 101"),
        ({"net_d_iters": 60, "net_d_init_iters": 60}, "net_d_init_iters: the generator's first step would be"),
    ],
    ids=str,
)
def test_gan_whose_generator_would_not_be_trained(changes: dict[str, int], message: str) -> None:
    block = {**TRAIN, "optim_d": TRAIN["optim_g"], "gan_opt": {"type": "GANLoss"}}
    validate(training.GANTrain, {**block, "net_d_iters": 50, "net_d_init_iters": 99}, "train")
    refused(lambda: validate(training.GANTrain, {**block, **changes}, "train"), f"train: {message}")


def test_whole_numbers_may_be_floats() -> None:
    scheduler = {"type": "MultiStepLR", "milestones": [2e1, 5e1]}
    validate(training.Train, {**TRAIN, "scheduler": scheduler, "pixel_opt": {"type": "L1Loss"}}, "train")
    refused(lambda: validate(training.TrainVal, {"val_freq": 2.5, "save_img": False}, "val"),
            "val: val_freq: expected a whole number of at least 1, got 2.5")  # fmt: skip


def test_text_numbers_of_a_gan_loss() -> None:
    block = {**TRAIN, "optim_d": TRAIN["optim_g"], "gan_opt": {"type": "GANLoss", "loss_weight": "5e-3"}}
    refused(lambda: validate(training.GANTrain, block, "train"), "train: gan_opt: loss_weight: expected a number")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"crop_border": "4"}, "crop_border: expected an integer of at least 0, got '4'"),
        ({"crop_border": -1}, "crop_border: expected an integer of at least 0, got -1"),
        ({"data_range": 0}, "data_range: expected a number above 0"),
        ({"band": 0}, "band: expected an integer of at least 1"), ({"per_band": 2}, "per_band: expected true or false"),
        ({"better": "Higher"}, "better: expected one of higher, lower, got 'Higher'"),
        ({"test_y_chanel": True}, "unknown option 'test_y_chanel'; did you mean 'test_y_channel'?"),
        ({"other": ["1e-4"]}, "other: expected a number, got '1e-4'"),
    ],
)
def test_metrics(metric: dict[str, Any], message: str) -> None:
    block = {"save_img": False, "metrics": {"psnr": {"type": "calculate_psnr", **metric}}}
    refused(lambda: validate(training.Val, block, "val"), f"val: metrics: psnr: {message}")


LOADER = {"name": "A", "type": "B", "batch_size_per_gpu": 1, "num_worker_per_gpu": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_worker_per_gpu": 0, "persistent_workers": True}, "persistent_workers: needs num_worker_per_gpu"),
        ({"prefetch_mode": "cpu", "persistent_workers": True},
         "persistent_workers: with prefetch_mode: cpu, BasicSR hangs; remove one"),
        ({"prefetch_mode": "cuda", "pin_memory": False}, "prefetch_mode: cuda needs pinned memory"),
        ({"prefetch_mode": "gpu"}, "prefetch_mode: expected one of cpu, cuda, got 'gpu'"),
    ],
)
def test_loader_options_that_basicsr_cannot_use(changes: dict[str, Any], message: str) -> None:
    validate(PipelineTrainingSet, {**LOADER, "persistent_workers": True}, "where")
    refused(lambda: validate(PipelineTrainingSet, {**LOADER, **changes}, "where"), f"where: {message}")


def test_validation_has_no_persistent_workers() -> None:
    block = {"name": "A", "type": "B", "phase": "val", "dataroot_gt": "x", "io_backend": {"type": "disk"}}
    block["persistent_workers"] = True
    refused(lambda: validate(ValidationSet, block, "where"), "where: persistent_workers: expected")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("valid", "val"), ("validation", "val"), ("Val", "val"), ("training", "train"), ("dataset", "datasets"),
        ("manual_sead", "manual_seed"), ("num_gpus", "num_gpu"), ("scales", "scale"), ("loger", "logger"),
    ],
)  # fmt: skip
def test_misspelled_block(name: str, meant: str) -> None:
    refused(lambda: check_top_level({name: {}}), f"unknown option {name!r}; did you mean {meant!r}?")


def test_other_blocks_of_a_project_pass() -> None:
    check_top_level({"network_f": {}, "gt_usm": True, "queue_size": 180, "x-anchors": [], "dist": False, "rank": 0})


def test_text_that_looks_like_a_number_passes_where_text_belongs() -> None:
    check_top_level({"name": "2", "datasets": {"val": {"name": "14", "dataroot_gt": "0"}}, "val": {"suffix": "3"}})
    refused(lambda: check_top_level({"network_g": {"a": [{"b": "1e-4"}]}}), "network_g: a: b: expected a number")
    refused(lambda: check_top_level({"datasets": {"train": {"gt_size": "128"}}}),
            "datasets: train: gt_size: expected a number, got '128'")  # fmt: skip


def test_config_imports_neither_torch_nor_basicsr() -> None:
    code = "import sys, liif_basicsr.config.file, liif_basicsr.config.datasets, liif_basicsr.config.degradations\n"
    code += "assert not {'torch', 'basicsr', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
