"""The command line: `python -m liif_basicsr <command>`, also installed as `liif-basicsr`."""
from __future__ import annotations

import argparse
import os
import runpy
import sys
from importlib import import_module

from liif_basicsr import __version__
from liif_basicsr.errors import LIIFError, print_error

# command -> (module, help); the module has `add_arguments(parser)` and `run(args) -> exit status`
COMMANDS = {
    "convert": ("liif_basicsr.cli.convert", "turn an official LIIF checkpoint into one of ours, or back"),
    "doctor": ("liif_basicsr.cli.doctor", "report on the installation and its problems"),
    "download": ("liif_basicsr.cli.download", "get a model that is not bundled"),
    "export": ("liif_basicsr.cli.export", "write a network as an ONNX graph"),
    "prepare": ("liif_basicsr.cli.prepare", "make data sets for training and validation"),
    "upscale": ("liif_basicsr.cli.upscale", "enlarge an image, a folder, or all images that match a pattern"),
    "view": ("liif_basicsr.cli.view", "zoom into an image in the browser, at any scale"),
    "warp": ("liif_basicsr.cli.warp", "turn an image, straighten a page or a façade, or warp it by a matrix"),
}
# command -> (module, help); the module parses the remaining arguments itself, as under `python -m module`
LAUNCHERS = {
    "train": ("liif_basicsr.train", "BasicSR's training, as `python -m liif_basicsr.train`"),
    "test": ("liif_basicsr.test", "BasicSR's testing, as `python -m liif_basicsr.test`"),
    "install-basicsr": ("liif_basicsr.plugin.install_basicsr", "install BasicSR, on Python 3.13 and newer, too"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: the command's own, 2 for bad input, 130 when interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _run(argv)
    except LIIFError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output is gone; Python's flush at exit must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(argv: list[str]) -> int:
    command = argv[0] if argv else ""
    if command in LAUNCHERS:
        sys.argv = argv
        runpy.run_module(LAUNCHERS[command][0], run_name="__main__", alter_sys=True)
        return 0
    parser = argparse.ArgumentParser(prog="python -m liif_basicsr", description="LIIF as a plugin for BasicSR.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, (module, text) in {**COMMANDS, **LAUNCHERS}.items():
        subparser = commands.add_parser(name, help=text, description=text)
        if name == command:  # only the chosen one is imported
            import_module(module).add_arguments(subparser)
    args = parser.parse_args(argv)
    status = import_module(COMMANDS[args.command][0]).run(args)
    sys.stdout.flush()  # a broken pipe must raise here, not when Python exits
    return status


if __name__ == "__main__":
    sys.exit(main())
