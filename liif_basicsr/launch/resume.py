"""Resume a run from its newest readable training state, at the first sample after that state.

The random numbers of a sample depend on `manual_seed`, the epoch and the sample's position in the epoch, but not on
earlier samples. So the samples before the checkpoint need not be loaded, and the data is the same for any number of
workers and processes.
"""
from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.utils import check_resume
from basicsr.utils.dist_util import master_only
from pydantic import ConfigDict
from torch.utils.data import DataLoader, Dataset

from liif_basicsr.config.base import Block, NonNegativeInt, validate
from liif_basicsr.errors import LIIFError, print_error
from liif_basicsr.hub import checkpoint


class TrainingState(Block):
    """The parts of a training state that BasicSR reads."""

    model_config = ConfigDict(extra="ignore")

    epoch: NonNegativeInt
    iter: NonNegativeInt
    optimizers: list[dict[str, Any]]
    schedulers: list[dict[str, Any]]


# Maximum number of samples in an epoch. BasicSR's sampler makes lists of all samples, about a hundred bytes per sample.
LONGEST_EPOCH = 20_000_000


class EpochSampler(EnlargedSampler):
    """BasicSR's sampler, but it also yields a seed for each index, and the first epoch may start in the middle.

    Attributes:
        seed: the option `manual_seed`.
        first: tuple (epoch, count): the epoch to start from, and the number of this process's samples to skip in it.
    """

    seed = 0
    first = (0, 0)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # torch's generator on the CPU uses only the lowest 32 bits of a seed.
        rng = np.random.default_rng((self.seed, self.epoch))
        seeds = rng.integers(2**32, size=(self.total_size,)).tolist()
        samples = list(zip(super().__iter__(), seeds[self.rank :: self.num_replicas], strict=True))
        epoch, done = self.first
        return iter(samples[done if self.epoch == epoch else 0 :])


class SeededDataset(Dataset):
    """Wraps a dataset. For the key (index, seed), it seeds all random generators and loads sample `index`."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        index, seed = key
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would initialize CUDA
        return self.dataset[index]


class Resume:
    """Replacements for BasicSR's `load_resume_state` and `build_dataloader`.

    Args:
        build_dataloader: BasicSR's function.
    """

    def __init__(self, build_dataloader: Callable[..., DataLoader]) -> None:
        self.original_build = build_dataloader
        self.state: dict[str, Any] | None = None

    def load_state(self, opt: dict[str, Any]) -> dict[str, Any] | None:
        """Return the state for --auto_resume or `path: resume_state`, or None to start from the beginning.

        Raises:
            LIIFError: `resume_state` is unusable, or older than others; or, with --auto_resume, no state is usable.
        """
        given = opt["path"].get("resume_state")
        if opt["auto_resume"]:
            self.state = newest_state(opt)
        if self.state is None and given:
            self.state = read_state(given, opt)
            if (states := state_files(opt)) and int(states[-1].stem) > self.state["iter"]:
                raise LIIFError(f"path: resume_state: {given}: there are later states, up to {states[-1]}; move them "
                                "to another folder, or continue from them with --auto_resume")  # fmt: skip
        if self.state is not None:
            check_resume(opt, self.state["iter"])
        return self.state

    def build_dataloader(self, dataset: Dataset, dataset_opt: dict[str, Any], **kwargs: Any) -> DataLoader:
        """Build BasicSR's data loader. A training loader seeds each sample and starts after the checkpoint."""
        sampler = kwargs.get("sampler")
        if sampler is None:
            return self.original_build(dataset, dataset_opt, **kwargs)
        set_loader_defaults(dataset_opt, kwargs.get("num_gpu", 0) > 0)
        loader = self.original_build(SeededDataset(dataset), dataset_opt, **kwargs)
        # BasicSR counts a partial last batch as an iteration, but drops it. Here the epoch is extended to fill it.
        iterations = -(-sampler.num_samples // dataset_opt["batch_size_per_gpu"])
        sampler.num_samples = iterations * loader.batch_size
        sampler.total_size = sampler.num_samples * sampler.num_replicas
        if sampler.total_size > LONGEST_EPOCH:
            too_long = f"an epoch of {sampler.total_size} samples is too long, because BasicSR lists them all in memory"
            raise LIIFError(f"datasets: train: {too_long}; lower dataset_enlarge_ratio or batch_size_per_gpu")
        if hasattr(dataset, "epoch_size"):
            dataset.epoch_size = sampler.total_size
        sampler.seed = kwargs["seed"]
        if self.state is not None:
            self.state["epoch"], done = resume_position(self.state, iterations)
            sampler.first = (self.state["epoch"], done * loader.batch_size)
        return loader


def set_loader_defaults(options: dict[str, Any], gpu: bool) -> None:
    """Set defaults for `pin_memory` and `persistent_workers`: on with a GPU, else off."""
    workers = options["num_worker_per_gpu"] > 0 and options.get("prefetch_mode") != "cpu"
    for key, default in (("pin_memory", gpu), ("persistent_workers", gpu and workers)):
        if options.get(key) is None:
            options[key] = default


def resume_position(state: Mapping[str, Any], iterations: int) -> tuple[int, int]:
    """Return the epoch to resume, and the number of its iterations that are already done.

    If the number of samples has changed, the epoch is recomputed from the iteration. With the state's epoch, the run
    might end too early, because BasicSR limits the number of epochs.

    `iterations` is the number of iterations per epoch.
    """
    done = state["iter"] - state["epoch"] * iterations
    if 0 <= done <= iterations:
        return state["epoch"], done
    report("the number of images or the batch size has changed since the checkpoint; the current epoch starts over")
    return state["iter"] // iterations, 0


def newest_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Return the experiment's newest usable state, or None if there are no states. Print a warning for skipped states.

    Raises:
        LIIFError: there are states, but none is usable.
    """
    states = state_files(opt)
    for path in reversed(states):
        try:
            state = read_state(path, opt)
        except LIIFError as error:
            report(f"skipped: {error}")
            continue
        opt["path"]["resume_state"] = str(path)
        return state
    if states:
        raise LIIFError(f"{states[0].parent}: contains no usable state; remove --auto_resume to start over")
    return None


def state_files(opt: Mapping[str, Any]) -> list[Path]:
    """Return the experiment's training states, sorted by iteration."""
    files = Path(opt["path"]["training_states"]).glob("*.state")
    return sorted((file for file in files if file.stem.isdecimal()), key=lambda file: int(file.stem))


def read_state(path: str | Path, opt: Mapping[str, Any]) -> dict[str, Any]:
    """Read a training state, and check that its networks are readable.

    Raises:
        LIIFError: the file is damaged or not a training state, or a network of its iteration is missing or damaged.
    """
    state = checkpoint.read_tensors(path)
    if not isinstance(state, dict) or not state.keys() >= TrainingState.model_fields.keys():
        raise LIIFError(f"{path}: not a training state of BasicSR")
    validate(TrainingState, state, f"{path}: damaged training state")
    if Path(path).stem.isdecimal() and int(Path(path).stem) != state["iter"]:
        named = f"the file's name says {Path(path).stem}"
        raise LIIFError(f"{path}: damaged training state: its iteration is {state['iter']}, but {named}")
    ignored = opt["path"].get("ignore_resume_networks") or ()
    for network in (key for key in opt if key.startswith("network_") and key not in ignored):
        name = f"net_{network.removeprefix('network_')}_{state['iter']}.pth"
        checkpoint.read(Path(opt["path"]["models"]) / name)
    return state


@master_only
def report(message: str) -> None:
    """Print a warning in the first process, on stderr because BasicSR's log is not open yet."""
    print_error(f"liif_basicsr: warning: {message}")
