"""Command-line arguments of training and testing, the same as BasicSR's. This module does not import PyTorch."""
from __future__ import annotations

import argparse
from pathlib import Path

from liif_basicsr.errors import ArgumentParser, LIIFError


def parse(argv: list[str], is_train: bool) -> argparse.Namespace:
    """Parse the arguments. Unknown ones are left to BasicSR.

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
