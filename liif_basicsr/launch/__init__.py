"""BasicSR's own pipelines, with exact resuming, training without a GPU, and one-line errors.

A few functions of BasicSR's modules are exchanged in this process (see `_exchange`); no file of it is touched.
`experiments/`, `results/` and `tb_logger/` are written under the current folder.
"""
from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module

from liif_basicsr.errors import LIIFError, OthersEnded, print_error
from liif_basicsr.optional import import_basicsr


def main(is_train: bool) -> int:
    """Run BasicSR's training or testing with the arguments in sys.argv.

    Returns:
        Exit status: 0, 2 for bad input or where another process of the run has ended, 130 when interrupted.
    """
    try:
        _run(is_train)
    except OthersEnded as error:
        print_error(error)
        os._exit(2)  # without destructors: a thread of gloo that has lost its peer may abort the process in them
    except LIIFError as error:
        print_error(error)
        return 2
    except OSError as error:  # of BasicSR's own files: its log, its copy of the options
        print_error(LIIFError(f"{error.filename or 'a file'}: {error.strerror or error}"))
        return 2
    except KeyboardInterrupt:
        again = "; --auto_resume goes on from the last checkpoint" if is_train else ""
        print_error(f"liif_basicsr: interrupted{again}")
        return 130
    return 0


def _run(is_train: bool) -> None:
    # All that is heavy is imported here, where an interrupt is reported in one line.
    import_basicsr()
    from liif_basicsr.launch import distributed, options

    # A checkpoint reports a full disk and ends the run; the log need not add a traceback for each line.
    logging.raiseExceptions = False
    options.check(sys.argv[1:], is_train)
    pipeline = _exchange(is_train)
    with distributed.errors_when_others_end():
        pipeline(os.getcwd())


def _exchange(is_train: bool) -> Callable[[str], None]:
    """Put ours in the place of the few functions of BasicSR that need it; returns the pipeline to call."""
    from liif_basicsr.launch import distributed
    from liif_basicsr.launch.resume import EpochSampler, Resume

    options = vars(import_module("basicsr.utils.options"))
    options["init_dist"] = distributed.init_dist
    options["open"] = partial(open, encoding="utf-8")  # BasicSR opens the options file with the locale's encoding
    if not is_train:
        return import_module("basicsr.test").test_pipeline
    train = import_module("basicsr.train")
    resume = Resume(train.build_dataloader)
    vars(train).update(
        load_resume_state=resume.load_state, build_dataloader=resume.build_dataloader, EnlargedSampler=EpochSampler
    )
    return train.train_pipeline
