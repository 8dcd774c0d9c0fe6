"""Check that BasicSR's `train_pipeline` reaches the last iteration."""
from __future__ import annotations

import sys
from typing import Any

from liif_basicsr.errors import LIIFError


def check_iterations() -> None:
    """Raise LIIFError if the `train_pipeline` that builds the model would end before `total_iter`.

    BasicSR counts the last, partial batch of an epoch as an iteration but drops it. It does not pass the loader to the
    model, so this function reads the variables of `train_pipeline` from the call stack. `python -m liif_basicsr.train`
    fills the last batch.
    """
    frame: Any = sys._getframe()
    while frame is not None and frame.f_code.co_name != "train_pipeline":
        frame = frame.f_back
    names = ("train_loader", "total_epochs", "total_iters")
    if frame is None or any(frame.f_locals.get(name) is None for name in names):
        return
    loader, epochs, iterations = (frame.f_locals[name] for name in names)
    resumed = frame.f_locals.get("resume_state") or {"epoch": 0, "iter": 0}
    possible = resumed["iter"] + (epochs + 1 - resumed["epoch"]) * len(loader)
    if possible < iterations:
        batch = loader.batch_size
        raise LIIFError(
            f"datasets: train: training would end after {possible} of {iterations} iterations, because BasicSR "
            f"drops the last, partial batch of each epoch ({len(loader.sampler)} samples in batches of {batch}); "
            "use `python -m liif_basicsr.train`, or change batch_size_per_gpu or dataset_enlarge_ratio"
        )
