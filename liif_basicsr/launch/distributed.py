"""Start and end BasicSR's training in several processes, with or without GPUs."""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from basicsr.utils import dist_util

from liif_basicsr.errors import LIIFError
from liif_basicsr.launch.ranks import check_gpus, others_ended

# How long a process waits for the others. Validating one image takes less.
TIMEOUT = timedelta(minutes=30)


def init_dist(launcher: str, backend: str = "nccl", **kwargs: Any) -> None:
    """Initialize torch.distributed like BasicSR's function of this name, but use gloo on machines without a GPU.

    Raises:
        LIIFError: the launcher is slurm on a machine without a GPU; torchrun did not start the process; or there are
            more processes than GPUs.
    """
    if torch.cuda.is_available():
        check_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
        dist_util.init_dist(launcher, backend, **kwargs)
        return
    if launcher != "pytorch":
        raise LIIFError(f"--launcher {launcher}: needs GPUs; without GPUs, use torchrun and --launcher pytorch")
    try:
        dist.init_process_group("gloo", timeout=TIMEOUT)
    except ValueError as error:  # an environment variable is missing
        raise LIIFError(f"--launcher {launcher}: torchrun did not start this process ({error}); use torchrun") from None


@contextmanager
def errors_when_others_end() -> Iterator[None]:
    """Turn communication errors into OthersEnded, because they mean that another process has ended or hangs."""
    try:
        yield
    except dist.DistError as error:
        raise others_ended(error) from error
    except RuntimeError as error:
        if not dist.is_initialized() or "gloo" not in str(error):
            raise
        raise others_ended(error) from error
    if dist.is_initialized():
        dist.destroy_process_group()
