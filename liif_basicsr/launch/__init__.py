"""BasicSR's pipelines with exact resuming, training without a GPU, and one-line errors.

`_replace_functions` replaces a few functions in BasicSR's modules, only in this process. BasicSR's files do not change.
`experiments/`, `results/` and `tb_logger/` are written under the current folder.
"""
from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from liif_basicsr.errors import ArgumentParser, LIIFError, OthersEnded, prepare_streams, print_error
from liif_basicsr.optional import import_basicsr


def main(is_train: bool) -> int:
    """Run BasicSR's training or testing with the arguments in sys.argv.

    Returns:
        Exit status: 0 for success, 2 for bad input or if another process of the run has ended, 130 when interrupted.
    """
    prepare_streams()  # BasicSR prints folder names, which may contain any character
    try:
        _run(is_train)
    except OthersEnded as error:
        print_error(error)
        os._exit(2)  # skips the destructors: after losing its peer, gloo may abort the process there
    except LIIFError as error:
        print_error(error)
        return 2
    except OSError as error:  # raised for a file that BasicSR writes, such as its log
        print_error(LIIFError(f"{error.filename or 'a file'}: {error.strerror or error}"))
        return 2
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) and "shared memory" not in str(error):
            raise
        remedy = "lower num_worker_per_gpu or batch_size_per_gpu, or enlarge /dev/shm"
        print_error(LIIFError(f"datasets: train: a worker was killed, probably for lack of memory; {remedy} ({error})"))
        return 2
    except KeyboardInterrupt:
        again = "; --auto_resume continues from the last checkpoint" if is_train else ""
        print_error(f"liif_basicsr: interrupted{again}")
        return 130
    return 0


def parse(argv: list[str], is_train: bool) -> argparse.Namespace:
    """Parse BasicSR's arguments of training and testing. Unknown ones are left to BasicSR.

    Raises:
        LIIFError: an argument is invalid, or the options file does not exist.
    """
    command, what = ("train", "Train") if is_train else ("test", "Test")
    parser = ArgumentParser(prog=f"liif-basicsr {command}", description=f"{what} as BasicSR does.")
    parser.add_argument("-opt", required=True, metavar="FILE", help="options file, such as those in options/")
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="BLOCK:OPTION=VALUE",
                        help="override options of the file, such as train:total_iter=100")  # fmt: skip
    parser.add_argument("--auto_resume", action="store_true", help="continue from the newest training state")
    parser.add_argument("--debug", action="store_true", help="log and validate after a few iterations")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none",
                        help="how the processes of a distributed run were started (default: none)")  # fmt: skip
    parser.add_argument("--local_rank", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_known_args(argv)[0]
    if not Path(args.opt).exists():
        raise LIIFError(f"{args.opt}: cannot be read: No such file or directory")
    return args


def _run(is_train: bool) -> None:
    args = parse(sys.argv[1:], is_train)
    # The slow imports are in this function, so that an interrupt during them also prints only one line.
    import_basicsr()
    from liif_basicsr.launch import distributed, options

    # A full disk ends the run at the next checkpoint. Until then, logging would print a traceback for each line that it
    # cannot write. This setting prevents that.
    logging.raiseExceptions = False
    options.check(args, is_train)
    pipeline = _replace_functions(is_train)
    with distributed.errors_when_others_end():
        pipeline(os.getcwd())


def _replace_functions(is_train: bool) -> Callable[[str], None]:
    """Replace a few functions in BasicSR's modules, and return the pipeline to call."""
    from liif_basicsr.launch import distributed
    from liif_basicsr.launch.options import OptionsLoader
    from liif_basicsr.launch.resume import EpochSampler, Resume

    options = vars(import_module("basicsr.utils.options"))
    options["init_dist"] = distributed.init_dist
    options["open"] = partial(open, encoding="utf-8")  # BasicSR opens the options file with the locale's encoding
    options["ordered_yaml"] = lambda: (OptionsLoader, None)  # BasicSR's loader cannot read merge keys (<<)
    if not is_train:
        return import_module("basicsr.test").test_pipeline
    train = import_module("basicsr.train")
    resume = Resume(train.build_dataloader)
    vars(train).update(
        load_resume_state=resume.load_state, build_dataloader=resume.build_dataloader, EnlargedSampler=EpochSampler
    )
    return train.train_pipeline
