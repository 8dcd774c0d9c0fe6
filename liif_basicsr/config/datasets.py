"""Blocks of `datasets`, one model per dataset and phase."""
from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from liif_basicsr.config.base import (
    LARGEST_ARGUMENT,
    LARGEST_INTEGER,
    Block,
    Checked,
    PartialBlock,
    PositiveInt,
    ScaleRange,
    Scales,
    Text,
)


def _patch_size(value: Any) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2 or any(type(side) is not int or not 1 <= side <= LARGEST_INTEGER for side in pair):
        raise ValueError
    return pair


def _value_range(value: Any) -> tuple[float, float]:
    low, high = value if isinstance(value, (list, tuple)) else ()
    numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not low < high or not math.isfinite(high - low):
        raise ValueError
    return float(low), float(high)


_SIDE_SCHEMA = {"type": "integer", "minimum": 1, "maximum": LARGEST_INTEGER}
PatchSize = Annotated[
    tuple[int, int],
    Checked(
        _patch_size,
        "an integer of at least 1, or a pair of them [height, width]",
        {"anyOf": [_SIDE_SCHEMA, {"type": "array", "items": _SIDE_SCHEMA, "minItems": 2, "maxItems": 2}]},
    ),
]
ValueRange = Annotated[
    tuple[float, float],
    Checked(
        _value_range,
        "a pair [low, high] of numbers, low below high",
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    ),
]
NameTemplate = Annotated[
    str,
    Field(
        pattern=r"\{\}",
        description="name of the low-resolution image; `{}` is the ground truth's name without suffix",
        json_schema_extra={"expected": "a text with {}, the ground truth's name without suffix"},
    ),
]
GroundTruth = Annotated[Text, Field(description="ground truth: a folder, an LMDB or a pixel file")]
LowResolution = Annotated[Text, Field(description="low resolution: a folder, an LMDB or a pixel file")]
SetName = Annotated[Text, Field(description="name in the log, in folders and in tables")]
# `liif_basicsr.data.degradations` checks the block, or a short form such as `photo` or `jpeg:30-90`.
DegradationBlock = Annotated[Any, Field(json_schema_extra={"expected": "a block of options or a text"})]
DegradationOption = Annotated[
    DegradationBlock,
    Field(description="makes the low-resolution image, see [degradation](#degradation); `~` is Pillow's bicubic"),
]
PrefetchMode = Annotated[Literal["cpu", "cuda"] | None, Field(description="BasicSR's prefetching")]


class LoaderOptions(BaseModel):
    """Options of BasicSR's training loader."""

    batch_size_per_gpu: PositiveInt = Field(description="samples per batch and GPU")
    num_worker_per_gpu: int = Field(ge=0, le=256, description="processes that load data; 0 loads in the main process")
    dataset_enlarge_ratio: float = Field(1, ge=1e-3, description="passes over the images that count as one epoch")
    prefetch_mode: PrefetchMode = None
    pin_memory: bool | None = Field(
        None, description="pin batches in memory, so that copies to a GPU do not wait; `~`: if there is one"
    )
    persistent_workers: bool | None = Field(
        None, description="keep the workers from one epoch to the next; `~`: if there is a GPU"
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> LoaderOptions:
        if self.persistent_workers and self.num_worker_per_gpu == 0:
            raise ValueError("persistent_workers: needs num_worker_per_gpu of at least 1, got 0")
        if self.persistent_workers and self.prefetch_mode == "cpu":
            raise ValueError("persistent_workers: BasicSR hangs with prefetch_mode: cpu; remove one of them")
        if self.prefetch_mode == "cuda" and self.pin_memory is False:
            raise ValueError("prefetch_mode: cuda needs pinned memory; set pin_memory: true")
        return self


class PipelineDataset(PartialBlock):
    """Options that BasicSR's pipelines read from any dataset."""

    name: SetName
    type: Text
    dataroot_gt: GroundTruth | None = None
    dataroot_lq: LowResolution | None = None


class PipelineTrainingSet(LoaderOptions, PipelineDataset):
    """Options that BasicSR's pipelines read from any training set."""


class IOBackend(Block):
    """How images are stored."""

    type: Literal["disk", "lmdb", "pixels"] = Field(description="`pixels`: made by `prepare folder --pixels`")


class Dataset(Block):
    """Options of all datasets."""

    name: SetName
    type: Text = Field(description="one of the datasets below")
    phase: Literal["train", "val", "test"] = Field(description="set by BasicSR")
    dataroot_gt: GroundTruth
    io_backend: IOBackend = Field(
        description="`{type: disk}`, `{type: lmdb}`, or `{type: pixels}` as made by `prepare folder --pixels`"
    )
    channels: Annotated[int, Field(ge=1, le=LARGEST_ARGUMENT)] = Field(
        3, description="number of channels of every image; 3 also takes gray pictures, and drops alpha"
    )
    value_range: ValueRange | None = Field(
        None,
        description="[low, high]: the values that become 0 and 1; `~` is the whole range of 8- or 16-bit pictures, and "
        "an error for other data",
    )
    meta_info_file: Text | None = Field(None, description="file with the names of the images to use, one per line")
    scale: Any = Field(
        None, description="set by BasicSR from the top level", json_schema_extra={"expected": "a scale"}
    )
    num_prefetch_queue: PositiveInt = Field(1, description="batches that `prefetch_mode: cpu` loads ahead")


class TrainingSet(LoaderOptions, Dataset):
    """Options of all training sets."""

    model_config = ConfigDict(extra="forbid")

    use_shuffle: Literal[True] = Field(True, description="no effect: BasicSR's sampler always shuffles")
    sample_q: PositiveInt = Field(description="query pixels per crop")
    sample: Literal["pixels", "patch"] = Field(
        "pixels",
        description="`pixels`: single pixels of the whole crop; `patch`: a square window of `sample_q` pixels, which "
        "losses on images need",
    )
    use_hflip: bool = Field(False, description="flip along x at random")
    use_rot: bool = Field(False, description="flip along y and transpose at random; only square inputs are transposed")
    on_corrupt: Literal["raise", "skip"] = Field(
        "raise", description="`raise` an error for a corrupt image, or `skip` and count it"
    )


class ValidationSet(Dataset):
    """Options of all validation and test sets."""

    batch_size_per_gpu: PositiveInt | None = Field(None, description="no effect: images are validated one at a time")
    num_worker_per_gpu: int | None = Field(None, ge=0, description="no effect: the main process loads the images")
    prefetch_mode: PrefetchMode = None
    pin_memory: bool = Field(False, description="pin images in memory")
    persistent_workers: Literal[False] = Field(False, description="no effect: validation does not use workers")
    protocol: Literal["benchmark", "div2k"] | None = Field(
        None,
        description="color and border of `calculate_psnr_liif`: `benchmark` (luma, s) or `div2k` (RGB, s + 6)",
    )


class ScaledTrainingSet(TrainingSet):
    """Options of training sets with inputs of one size."""

    lq_size: PatchSize = Field(description="side of the input, or its [height, width]")


class ScaledValidationSet(ValidationSet):
    """Options of validation sets at several scales."""

    scales: Scales | None = Field(
        None, description="scales, each a number or a pair [along y, along x]; `~` uses `scale`"
    )


class ImageTrainingSet(ScaledTrainingSet):
    """Training options of ArbitraryScaleImageDataset."""

    scale_range: ScaleRange = Field(description="[lowest, highest]; scales are drawn uniformly")
    degradation: DegradationOption = None


class ImageValidationSet(ScaledValidationSet):
    """Validation options of ArbitraryScaleImageDataset."""

    degradation: DegradationOption = None


class ExpectedPairs(Block):
    """Which pairs of a teacher a folder must hold."""

    path: Text = Field(description="the teacher, by name or file")
    scale: PositiveInt | None = Field(None, description="its scale; `~` accepts any")
    degradation: DegradationBlock = Field(None, description="its [degradation](#degradation); `~` accepts any")


class _Pairs(BaseModel):
    dataroot_lq: LowResolution
    filename_tmpl: NameTemplate = "{}"


class PairedTrainingSet(_Pairs, ScaledTrainingSet):
    """Training options of ArbitraryScalePairedDataset."""

    model_config = ConfigDict(extra="forbid")

    scales: Scales | None = Field(None, description="whole numbers; one is drawn per sample; `~` uses `scale`")
    scale_range: ScaleRange | None = Field(
        None, description="[lowest, highest]: reduce the ground truth to any scale up to the only one in `scales`"
    )
    teacher: ExpectedPairs | None = Field(
        None, description="which [pairs from a teacher](data.md#pairs-from-a-teacher) are expected, see [Pairs](#pairs)"
    )


class PairedValidationSet(_Pairs, ScaledValidationSet):
    """Validation options of ArbitraryScalePairedDataset."""

    model_config = ConfigDict(extra="forbid")


class _Split(BaseModel):
    dataroot_lq: LowResolution
    split_file: Text = Field(description="JSON file with lists of file names")
    split_key: Text = Field(description="the list to use")
    first_k: PositiveInt | None = Field(None, description="number of images to use, from the start of the list")


class SizeVariedTrainingSet(_Split, TrainingSet):
    """Training options of SizeVariedPairedDataset."""

    model_config = ConfigDict(extra="forbid")

    size_min: PositiveInt = Field(description="side of the first image's ground truth")
    size_max: PositiveInt = Field(description="side of the last image's ground truth")
    gt_size: PositiveInt | None = Field(None, description="resize once more to this side, for fixed-scale networks")


class SizeVariedValidationSet(_Split, ValidationSet):
    """Validation options of SizeVariedPairedDataset."""

    model_config = ConfigDict(extra="forbid")
