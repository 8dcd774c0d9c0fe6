"""Every block of an options file, in the order of the file, and what each may say: `{option: Field(check, default)}`.

What the options mean stands in docs/options.md. Two kinds of blocks have no table here, for each class brings its own:
the arguments in `network_g` and of an encoder are read from the signature of the class (`check_arguments`), and those
of a `degradation` are the `fields` of its class in `liif_basicsr.data.degradations`.

Where a block is checked: a dataset's when it is built (`liif_basicsr.data.base`); `path`, `train`, `val`, `logger` and
`network_g` in `LIIFModel.check_options`, of which the last is handed on to `liif_basicsr.archs`. The launchers
(`liif_basicsr.launch.options`) do the latter before a run.

The tables `PIPELINE_...` are what BasicSR's own pipelines read unasked, of any model and dataset: the launchers require
it before a run. The plugin's own tables include it, and refuse all that they do not name.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from liif_basicsr.config.checks import (
    anything,
    block,
    boolean,
    choice,
    gpus,
    integer,
    list_of,
    loss,
    name_template,
    number,
    optional,
    scale_range,
    scales,
    text,
)
from liif_basicsr.config.options import Field, check_block

Table = dict[str, Field]


class Phases(NamedTuple):
    """What a block may say in training, and what it may say in validation or testing."""

    train: Table
    test: Table

    def of(self, is_train: bool) -> Table:
        """The table of one of them."""
        return self.train if is_train else self.test


# --- top level; what else stands there is BasicSR's, or a model's own, such as `network_d`
_TOP = {
    "name": Field(text),
    "model_type": Field(text),
    "num_gpu": Field(gpus),
    "manual_seed": Field(optional(integer(0, 2**31 - 1)), None),
    **dict.fromkeys(("datasets", "network_g", "path"), Field(block)),
}
PIPELINE_TOP = Phases(
    train={**_TOP, **dict.fromkeys(("train", "logger"), Field(block)), "val": Field(optional(block), None)},
    test={**_TOP, "val": Field(block)},
)

# --- datasets


def io_backend(value: Any) -> str:
    """`{type: disk}`, `{type: lmdb}`, or `{type: pixels}` for what `prepare --pixels` makes."""
    return check_block(value, {"type": Field(choice("disk", "lmdb", "pixels"))}, "io_backend")["type"]


_NAMES = dict.fromkeys(("name", "type"), Field(text))
_LOADER = {
    "batch_size_per_gpu": Field(integer(1)),
    "num_worker_per_gpu": Field(integer(0, 256)),
    "dataset_enlarge_ratio": Field(number(1e-3), 1),
    "prefetch_mode": Field(optional(choice("cpu", "cuda")), None),
}
_ROOTS = dict.fromkeys(("dataroot_gt", "dataroot_lq"), Field(optional(text), None))
PIPELINE_DATASET = Phases(train={**_NAMES, **_ROOTS, **_LOADER}, test={**_NAMES, **_ROOTS})

# What all of the plugin's datasets share: those that draw pixels, and those that give whole images.
_DATASET = {
    **_NAMES,
    "phase": Field(choice("train", "val", "test")),
    "dataroot_gt": Field(text),
    "io_backend": Field(io_backend),
    "meta_info_file": Field(optional(text), None),
    "scale": Field(anything, None),  # BasicSR puts the `scale` of a whole options file into every dataset
    "prefetch_mode": Field(optional(choice("cpu", "cuda")), None),
    "num_prefetch_queue": Field(integer(1), 1),
    **dict.fromkeys(("pin_memory", "persistent_workers"), Field(boolean, False)),
}
_DRAWN = {
    **_DATASET,
    **_LOADER,
    "use_shuffle": Field(boolean, True),
    "sample_q": Field(integer(1)),
    "sample": Field(choice("pixels", "patch"), "pixels"),
    **dict.fromkeys(("use_hflip", "use_rot"), Field(boolean, False)),
    "on_corrupt": Field(choice("raise", "skip"), "raise"),
}
_WHOLE = {
    **_DATASET,
    "num_worker_per_gpu": Field(integer(0), None),
    "batch_size_per_gpu": Field(integer(1), None),
    "protocol": Field(optional(choice("benchmark", "div2k")), None),
}
_SCALES = {"scales": Field(optional(scales), None)}
# ArbitraryScaleDataset, from which a dataset may inherit
DATASET = Phases(train={**_DRAWN, "lq_size": Field(integer(1))}, test={**_WHOLE, **_SCALES})

# ArbitraryScaleImageDataset
_DEGRADED = {"degradation": Field(anything, None)}  # a block, or its short form
IMAGE_DATASET = Phases(
    train={**DATASET.train, "scale_range": Field(scale_range), **_DEGRADED}, test={**DATASET.test, **_DEGRADED}
)

# ArbitraryScalePairedDataset
_PAIRED = {"dataroot_lq": Field(text), "filename_tmpl": Field(name_template, "{}")}
_REDUCED = {"scale_range": Field(optional(scale_range), None), "teacher": Field(anything, None)}  # a block of TAUGHT
PAIRED_DATASET = Phases(
    train={**DATASET.train, **_PAIRED, **_REDUCED, **_SCALES}, test={**DATASET.test, **_PAIRED}
)
TAUGHT = {"path": Field(text), "scale": Field(optional(integer(1)), None), **_DEGRADED}

# SizeVariedPairedDataset
_SPLIT = {
    **dict.fromkeys(("dataroot_lq", "split_file", "split_key"), Field(text)),
    "first_k": Field(optional(integer(1)), None),
}
_VARIED = {
    **dict.fromkeys(("size_min", "size_max"), Field(integer(1))),
    "gt_size": Field(optional(integer(1)), None),
}
SIZE_VARIED_DATASET = Phases(train={**_DRAWN, **_SPLIT, **_VARIED}, test={**_WHOLE, **_SPLIT})

# --- path
PATH: Table = {
    **dict.fromkeys(("pretrain_network_g", "resume_state"), Field(optional(text), None)),
    "param_key_g": Field(optional(choice("params", "params_ema")), "params"),
    "strict_load_g": Field(boolean, True),
    "ignore_resume_networks": Field(anything, None),
    # BasicSR fills these in; its git master takes the first two from the file, too.
    **dict.fromkeys(("experiments_root", "results_root"), Field(optional(text), None)),
    **dict.fromkeys(("models", "training_states", "log", "visualization"), Field(optional(text), None)),
}
PATH_GAN: Table = {  # of LIIFGANModel
    **PATH,
    "pretrain_network_d": Field(optional(text), None),
    "param_key_d": Field(optional(choice("params", "params_ema")), "params"),
    "strict_load_d": Field(boolean, True),
}

# --- train
PIPELINE_TRAIN: Table = {"total_iter": Field(number(1)), **dict.fromkeys(("scheduler", "optim_g"), Field(block))}
_AMP = Field(optional(choice("auto", "bfloat16", "float16")), None)
TRAIN: Table = {
    **PIPELINE_TRAIN,
    "pixel_opt": Field(loss, None),
    "perceptual_opt": Field(anything, None),
    "teacher": Field(anything, None),  # a block of TEACHER
    "freeze": Field(list_of(text), []),
    "total_iter": Field(integer(1)),
    "warmup_iter": Field(integer(-1), -1),
    "ema_decay": Field(number(0, 1 - 1e-9), 0),
    "amp": _AMP,
    "skip_nonfinite": Field(integer(0), 0),
}
TRAIN_GAN: Table = {  # of LIIFGANModel
    **TRAIN,
    **dict.fromkeys(("optim_d", "gan_opt"), Field(anything)),
    "net_d_iters": Field(integer(1), 1),
    "net_d_init_iters": Field(integer(0), 0),
}
TEACHER: Table = {"path": Field(text), "weight": Field(number(0), 1.0)}

# --- val
PIPELINE_VAL = Phases(
    train={"val_freq": Field(number(1)), "save_img": Field(boolean)}, test={"save_img": Field(boolean)}
)
VAL: Table = {
    **PIPELINE_VAL.train,
    "val_freq": Field(number(1), None),  # not needed in testing
    "pbar": Field(boolean, False),
    "suffix": Field(optional(text), None),
    "metrics": Field(anything, None),
    "amp": _AMP,
}

# --- logger
PIPELINE_LOGGER: Table = {
    "print_freq": Field(integer(1)),
    "save_checkpoint_freq": Field(number(1)),
    "use_tb_logger": Field(boolean),
    "wandb": Field(optional(block), None),
}
LOGGER: Table = {
    **PIPELINE_LOGGER,
    "keep_checkpoints": Field(optional(integer(1)), None),
    "keep_checkpoint_freq": Field(optional(number(1)), None),
}
