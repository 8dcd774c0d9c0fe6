"""Models of the top level of an options file."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from liif_basicsr.config.base import (
    LARGEST_INTEGER,
    FolderName,
    PartialBlock,
    Text,
    refuse_near_misses,
    refuse_text_numbers,
)
from liif_basicsr.config.training import PipelineLogger, PipelineTestVal, PipelineTrain, PipelineTrainVal
from liif_basicsr.errors import LIIFError

LARGEST_SEED = 2**31 - 1
# Set by BasicSR's `parse_options`.
RUNTIME_OPTIONS = ("dist", "rank", "world_size", "auto_resume", "is_train", "root_path")
# Further options that BasicSR, its models or the plugin's models read.
OTHER_OPTIONS = ("network_d", "scale", "dist_params", "find_unused_parameters")
# Options whose value is text even if it looks like a number.
TEXT_OPTIONS = frozenset({
    "name", "suffix", "dataroot_gt", "dataroot_lq", "meta_info_file", "filename_tmpl", "split_file", "split_key",
    "project", "resume_id", "tap", "pretrain_network_g", "pretrain_network_d", "resume_state", "freeze",
})  # fmt: skip
NumGPU = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)] | Literal["auto"]


class OptionsFile(PartialBlock):
    """Options of training and testing."""

    name: FolderName = Field(description="name of the run and of its folder in `experiments/` or `results/`")
    model_type: Text = Field(description="`LIIFModel`, `LIIFGANModel`, or another model in BasicSR's registry")
    num_gpu: NumGPU = Field(description="number of GPUs, or `auto`; 0 uses the CPU")
    manual_seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = Field(None, description="random seed")
    datasets: dict[str, Any] = Field(
        description="the datasets: `train` and `val`, `val_1`, ... in training; `test`, `test_1`, `val`, ... in testing"
    )
    network_g: dict[str, Any] = Field(description="the network: its `type` and arguments")
    path: dict[str, Any] = Field(description="checkpoints to load")


class TrainingFile(OptionsFile):
    """Options of `train.py`."""

    train: PipelineTrain = Field(description="losses, optimizer, schedule")
    val: PipelineTrainVal | None = Field(None, description="validation; `~` trains without validation")
    logger: PipelineLogger = Field(description="logging and checkpoints")


class TestFile(OptionsFile):
    """Options of `test.py`."""

    val: PipelineTestVal = Field(description="validation")


def check_top_level(opt: Mapping[str, Any]) -> None:
    """Raise LIIFError for a misspelled block or option, and for a number written as text anywhere in the options."""
    names = [*TrainingFile.model_fields, *RUNTIME_OPTIONS, *OTHER_OPTIONS]
    try:
        # Models of other projects may have further networks, such as `network_f`.
        refuse_near_misses({key: None for key in opt if not str(key).startswith("network_")}, names)
        refuse_text_numbers(_without_texts(opt))
    except ValueError as error:
        raise LIIFError(str(error)) from None


def _without_texts(value: Any) -> Any:
    """Return a copy of options without `TEXT_OPTIONS`, at any depth."""
    if isinstance(value, Mapping):
        return {key: _without_texts(item) for key, item in value.items() if key not in TEXT_OPTIONS}
    return value
