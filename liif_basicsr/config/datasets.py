"""Models of the blocks in `datasets`, one per dataset class and phase."""
from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from liif_basicsr.config.base import (
    LARGEST_ARGUMENT,
    LARGEST_INTEGER,
    Block,
    Checked,
    FolderName,
    PartialBlock,
    PositiveInt,
    Scale,
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
        "an integer of at least 1, or a pair [height, width] of such integers",
        {"anyOf": [_SIDE_SCHEMA, {"type": "array", "items": _SIDE_SCHEMA, "minItems": 2, "maxItems": 2}]},
    ),
]
ValueRange = Annotated[
    tuple[float, float],
    Checked(
        _value_range,
        "a pair [low, high] of numbers, with low below high",
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    ),
]
NameTemplate = Annotated[
    str,
    Field(
        pattern=r"\{\}",
        description="name of the low-resolution file; `{}` is replaced by the ground truth's name without suffix",
        json_schema_extra={
            "expected": "a string that contains {}, which stands for the ground truth's name without suffix"
        },
    ),
]
GroundTruth = Annotated[
    Text, Field(description="ground truth: a folder of images, an LMDB, or a folder of decoded pixels")
]
LowResolution = Annotated[
    Text, Field(description="low-resolution images: a folder of images, an LMDB, or a folder of decoded pixels")
]
SetName = Annotated[FolderName, Field(description="name of the data set in the log, folders and tables")]
# A block, or a short form such as `photo` or `jpeg:30-90`. `liif_basicsr.data.degradations` validates it.
DegradationBlock = Annotated[Any, Field(json_schema_extra={"expected": "a block of options or a string"})]
DegradationOption = Annotated[
    DegradationBlock,
    Field(
        description="how low-resolution images are made, see [degradation](#degradation); `~` is Pillow's bicubic only"
    ),
]
PrefetchMode = Annotated[
    Literal["cpu", "cuda"] | None,
    Field(description="BasicSR's prefetching: in a thread (`cpu`), or to the GPU (`cuda`); `~` disables it"),
]


class LoaderOptions(BaseModel):
    """Options of BasicSR's training loader."""

    batch_size_per_gpu: PositiveInt = Field(description="number of samples in a batch on each GPU")
    num_worker_per_gpu: int = Field(
        ge=0, le=256, description="number of processes that load data for each GPU; 0 loads in the main process"
    )
    dataset_enlarge_ratio: float = Field(
        1, ge=1e-3, description="number of passes over the images that count as one epoch"
    )
    prefetch_mode: PrefetchMode = None
    pin_memory: bool | None = Field(
        None, description="pin batches in memory, so that copies to a GPU do not wait; `~` pins them if there is a GPU"
    )
    persistent_workers: bool | None = Field(
        None, description="keep the workers from one epoch to the next; `~` keeps them if there is a GPU"
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> LoaderOptions:
        if self.persistent_workers and self.num_worker_per_gpu == 0:
            found = "needs num_worker_per_gpu of at least 1, got 0"
            raise ValueError(f"persistent_workers: {found}; raise num_worker_per_gpu, or remove persistent_workers")
        if self.persistent_workers and self.prefetch_mode == "cpu":
            raise ValueError("persistent_workers: with prefetch_mode: cpu, BasicSR hangs; remove one of the two")
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

    type: Literal["disk", "lmdb", "pixels"] = Field(
        description="storage: image files (`disk`), an LMDB (`lmdb`), or decoded pixels (`pixels`)"
    )


class Dataset(Block):
    """Options of all datasets."""

    name: SetName
    type: Text = Field(description="name of a dataset class")
    phase: Literal["train", "val", "test"] = Field(description="set by BasicSR")
    dataroot_gt: GroundTruth
    io_backend: IOBackend = Field(
        description="`{type: disk}`, `{type: lmdb}`, or `{type: pixels}` for a folder made by `prepare folder --pixels`"
    )
    channels: Annotated[int, Field(ge=1, le=LARGEST_ARGUMENT)] = Field(
        3, description="number of channels of every image; 3 also accepts gray pictures, and drops alpha"
    )
    value_range: ValueRange | None = Field(
        None,
        description="[low, high], the values that become 0 and 1; `~` uses the whole range of 8- or 16-bit pictures, "
        "and is an error for other data",
    )
    meta_info_file: Text | None = Field(
        None,
        description="file with the names of the images to use, one per line; not for `SizeVariedPairedDataset`, which "
        "has `split_file`",
    )
    scale: Scale | None = Field(
        None, description="set by BasicSR to the `scale` at the top level; used if `scales` is missing"
    )
    num_prefetch_queue: PositiveInt = Field(
        1, description="number of batches that `prefetch_mode: cpu` loads in advance"
    )


class TrainingSet(LoaderOptions, Dataset):
    """Options of all training sets."""

    use_shuffle: Literal[True] = Field(True, description="no effect: BasicSR's sampler always shuffles")
    sample_q: PositiveInt = Field(description="number of query pixels per crop")
    sample: Literal["pixels", "patch"] = Field(
        "pixels",
        description="`pixels` draws single pixels from the whole crop; `patch` draws a square window of `sample_q` "
        "pixels, as perceptual, texture and GAN losses require",
    )
    use_hflip: bool = Field(False, description="flip horizontally at random")
    use_rot: bool = Field(
        False, description="flip vertically and transpose at random; only square inputs are transposed"
    )
    on_corrupt: Literal["raise", "skip"] = Field(
        "raise", description="`raise` an error for a corrupt image, or `skip` and count it"
    )

    @model_validator(mode="after")
    def _check_patch(self) -> TrainingSet:
        if self.sample == "patch" and math.isqrt(self.sample_q) ** 2 != self.sample_q:
            found = f"expected a square number, such as 2304, because sample is patch, got {self.sample_q}"
            raise ValueError(f"sample_q: {found}")
        return self


class ValidationSet(Dataset):
    """Options of all validation and test sets."""

    batch_size_per_gpu: PositiveInt | None = Field(None, description="no effect: images are validated one at a time")
    num_worker_per_gpu: int | None = Field(None, ge=0, description="no effect: the main process loads the images")
    prefetch_mode: PrefetchMode = None
    pin_memory: bool = Field(False, description="pin images in memory")
    persistent_workers: Literal[False] = Field(False, description="no effect: validation does not use workers")
    protocol: Literal["benchmark", "div2k"] | None = Field(
        None,
        description="protocol of `calculate_psnr_liif` at scale s: `benchmark` compares luma and ignores a border of s "
        "pixels, `div2k` compares RGB and ignores a border of s + 6 pixels",
    )


class ScaledTrainingSet(TrainingSet):
    """Options of training sets whose low-resolution inputs all have the same size."""

    lq_size: PatchSize = Field(description="side of the low-resolution input in pixels, or its [height, width]")


class ScaledValidationSet(ValidationSet):
    """Options of validation sets at several scales."""

    scales: Scales | None = Field(
        None, description="scales, each a number or a pair [along y, along x]; `~` uses `scale`"
    )


class ImageTrainingSet(ScaledTrainingSet):
    """Training options of ArbitraryScaleImageDataset."""

    scale_range: ScaleRange = Field(description="[lowest, highest]; scales are drawn uniformly from this range")
    degradation: DegradationOption = None


class ImageValidationSet(ScaledValidationSet):
    """Validation options of ArbitraryScaleImageDataset."""

    degradation: DegradationOption = None


class ExpectedPairs(Block):
    """Teacher and degradation that the pairs in a folder must have been made with."""

    path: Text = Field(description="name or file of the teacher")
    scale: PositiveInt | None = Field(None, description="scale of the teacher; `~` accepts any")
    degradation: DegradationBlock = Field(
        None, description="[degradation](#degradation) of the inputs; `~` accepts any"
    )


class _Pairs(BaseModel):
    dataroot_lq: LowResolution
    filename_tmpl: NameTemplate = "{}"


class PairedTrainingSet(_Pairs, ScaledTrainingSet):
    """Training options of ArbitraryScalePairedDataset."""

    scales: Scales | None = Field(
        None, description="scales of the pairs, whole numbers; each training sample draws one of them; `~` uses `scale`"
    )
    scale_range: ScaleRange | None = Field(
        None,
        description="[lowest, highest]: each sample draws a scale from this range, and its ground truth is downsampled "
        "to match; `scales` must contain a single scale, at least as high as `highest`",
    )
    teacher: ExpectedPairs | None = Field(
        None,
        description="teacher and degradation that the [pairs](data.md#pairs-from-a-teacher) must have been made with, "
        "see [Pairs](#pairs)",
    )


class PairedValidationSet(_Pairs, ScaledValidationSet):
    """Validation options of ArbitraryScalePairedDataset."""


class _Split(Dataset):
    dataroot_lq: LowResolution
    split_file: Text = Field(description="JSON file with lists of file names")
    split_key: Text = Field(description="key of the list to use")
    meta_info_file: None = Field(
        None,
        description="not supported, because `split_file` selects the images",
        json_schema_extra={"expected": "~, because split_file selects the images"},
    )
    first_k: PositiveInt | None = Field(None, description="number of images to use, from the start of the list")


class SizeVariedTrainingSet(_Split, TrainingSet):
    """Training options of SizeVariedPairedDataset."""

    size_min: PositiveInt = Field(
        description="side to which the first image's ground truth is resized; sides grow linearly up to `size_max`"
    )
    size_max: PositiveInt = Field(description="side to which the last image's ground truth is resized")
    gt_size: PositiveInt | None = Field(
        None, description="resize the ground truth once more, to this side, for fixed-scale networks"
    )


class SizeVariedValidationSet(_Split, ValidationSet):
    """Validation options of SizeVariedPairedDataset."""
