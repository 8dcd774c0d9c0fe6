"""The options of a dataset block that several datasets share."""
from __future__ import annotations

from typing import Any

from liif_basicsr.data.source import KINDS
from liif_basicsr.utils.options import Field, anything, boolean, check_block, choice, integer, number, optional, text
from liif_basicsr.utils.options import scale as any_scale


def scale(value: Any) -> tuple[float, float]:
    """A scale of at least 1, or a pair of them."""
    pair = any_scale(value)
    if min(pair) < 1:
        raise ValueError("must be a scale of at least 1, or a pair of them (along y, along x)")
    return pair


def scales(value: Any) -> list[tuple[float, float]]:
    """A list of different scales."""
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("must be a list of scales")
    pairs = [scale(item) for item in value]
    if len(set(pairs)) < len(pairs):
        raise ValueError("must not name a scale twice")
    return pairs


def scale_range(value: Any) -> tuple[float, float]:
    """[lowest, highest] scale, from 1."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError("must be a pair [lowest, highest]")
    low, high = (number(1)(item) for item in value)
    if low > high:
        raise ValueError("must be a pair [lowest, highest]")
    return low, high


def name_template(value: Any) -> str:
    """A text with '{}' for the name of the GT file."""
    if "{}" not in text(value):
        raise ValueError("must contain {}, for the name of the GT file without its suffix")
    return value


def backend(value: Any) -> str:
    """`{type: disk}`, `{type: lmdb}`, or `{type: pixels}` for what `prepare_data.py --pixels` makes."""
    return check_block(value, {"type": Field(choice(*KINDS))}, "io_backend")["type"]


COMMON = {
    "name": Field(text),
    "type": Field(text),
    "phase": Field(choice("train", "val", "test")),
    "dataroot_gt": Field(text),
    "io_backend": Field(backend),
    "meta_info_file": Field(optional(text), None),
    "scale": Field(anything, None),  # BasicSR puts the `scale` of a whole options file into every dataset
    "prefetch_mode": Field(optional(choice("cpu", "cuda")), None),
    "num_prefetch_queue": Field(integer(1), 1),
    "pin_memory": Field(boolean, False),
    "persistent_workers": Field(boolean, False),
    "num_worker_per_gpu": Field(integer(0), None),
    "batch_size_per_gpu": Field(integer(1), None),
}
PROTOCOL = Field(optional(choice("benchmark", "div2k")), None)
# What draws pixels in training.
DRAWN = {
    **COMMON,
    "num_worker_per_gpu": Field(integer(0)),
    "batch_size_per_gpu": Field(integer(1)),
    "dataset_enlarge_ratio": Field(number(1e-3), 1),
    "use_shuffle": Field(boolean, True),
    "sample_q": Field(integer(1)),
    "sample": Field(choice("pixels", "patch"), "pixels"),
    "use_hflip": Field(boolean, False),
    "use_rot": Field(boolean, False),
    "on_corrupt": Field(choice("raise", "skip"), "raise"),
}
TRAIN = {**DRAWN, "lq_size": Field(integer(1))}
VAL = {
    **COMMON,
    "scales": Field(optional(scales), None),
    "protocol": PROTOCOL,
}
