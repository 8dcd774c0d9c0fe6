"""The command line: `liif-basicsr <command>`, or `python -m liif_basicsr <command>`."""
from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from liif_basicsr import __version__, cli
from liif_basicsr.errors import ArgumentParser, LIIFError, prepare_streams, print_error, suggest


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: the command's own, 2 for bad input, 130 when interrupted.
    """
    prepare_streams()
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except LIIFError as error:
        print_error(error)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("liif_basicsr"):
            raise
        print_error(LIIFError(f"{error.name} is not installed in {sys.executable}; activate the environment that "
                              "contains the plugin, or run `python -m liif_basicsr doctor`"))  # fmt: skip
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python's flush at exit must not print an error
        if error.errno == errno.ENOSPC:  # otherwise, nobody reads the output any more
            print_error(LIIFError(f"{error.filename or 'the output'}: cannot be written: {error.strerror}"))
        return 1


def _run(argv: list[str]) -> int:
    names = list_commands()
    modules = {name.replace("_", "-"): name for name in names}
    if argv and not argv[0].startswith("-") and argv[0] not in modules:
        raise LIIFError(f"unknown command {argv[0]!r}{suggest(argv[0], modules)}")
    command = modules.get(argv[0]) if argv else None
    loaded = {command: import_module(f"{cli.__name__}.{command}")} if command else {}
    if command and hasattr(loaded[command], "launch"):
        return loaded[command].launch(argv)
    parser = build_parser(names, loaded)
    args, unknown = parser.parse_known_args(argv)
    if unknown and unknown[0].startswith("-"):
        known = [option for action in args.parser._actions for option in action.option_strings]
        raise LIIFError(f"{args.command}: unknown option {unknown[0]}{suggest(unknown[0].partition('=')[0], known)}")
    if unknown:
        see = f"see `liif-basicsr {args.command} --help`"
        raise LIIFError(f"{args.command}: unexpected argument {unknown[0]!r}; {see}")
    status = loaded[modules[args.command]].run(args)
    sys.stdout.flush()  # a broken pipe must raise here, not when Python exits
    return status


def list_commands() -> dict[str, Path]:
    """Return the file of each command's module, by the module's name."""
    modules = ((name, Path(finder.path, f"{name}.py")) for finder, name, _ in iter_modules(cli.__path__))  # type: ignore
    return {name: path for name, path in modules if not name.startswith("_")}


def build_parser(names: dict[str, Path], loaded: dict[str, ModuleType]) -> argparse.ArgumentParser:
    """Return a parser that lists all commands, sorted by the ORDER in each command's module.

    Args:
        names: name of a command's module -> its file.
        loaded: name of a command's module -> the module. Only these commands get their arguments.
    """
    parser = ArgumentParser(
        prog="liif-basicsr",
        description="Upscale images by any factor with LIIF, and train LIIF in BasicSR.",
        epilog="`liif-basicsr COMMAND --help` shows the options of a command. "
        "`python -m liif_basicsr` is the same as `liif-basicsr`.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--print-completion", action=PrintCompletion, metavar="SHELL",
                        help="print a completion script for bash, zsh or tcsh")  # fmt: skip
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    for _, text, name in sorted((*_describe(path), name) for name, path in names.items()):
        subparser = commands.add_parser(name.replace("_", "-"), help=text, description=f"{text}.")
        subparser.set_defaults(parser=subparser)
        if hasattr(loaded.get(name), "add_arguments"):
            loaded[name].add_arguments(subparser)
    return parser


def _describe(path: Path) -> tuple[int, str]:
    """Return a command's ORDER and help. Both are read from its source, because importing all commands is slow."""
    source = path.read_text(encoding="utf-8")
    order = re.search(r"^ORDER = (\d+)$", source, re.MULTILINE)
    return int(order[1]) if order else 99, source.removeprefix('"""').partition("\n")[0].rstrip('".')


class PrintCompletion(argparse.Action):
    """Print a script that completes commands, options, files and models, and exit."""

    def __call__(self, parser: argparse.ArgumentParser, *given) -> None:
        """Print the script. Raise LIIFError if the shell is unknown or shtab is not installed."""
        try:
            shtab = import_module("shtab")
        except ModuleNotFoundError:
            raise LIIFError("--print-completion: shtab is not installed; run `pip install shtab`") from None
        shell = given[1]
        if shell not in shtab.SUPPORTED_SHELLS:
            raise LIIFError(f"--print-completion: unknown shell {shell!r}{suggest(shell, shtab.SUPPORTED_SHELLS)}")
        from liif_basicsr.cli._arguments import COMPLETION_PREAMBLE

        names = list_commands()
        complete = build_parser(names, {name: import_module(f"{cli.__name__}.{name}") for name in names})
        print(shtab.complete(complete, shell=shell, preamble=COMPLETION_PREAMBLE))
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
