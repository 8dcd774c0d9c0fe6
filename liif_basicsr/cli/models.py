"""List the known models, with size, license, availability on this machine, and purpose."""
from __future__ import annotations

import argparse

from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import BUNDLED, DEFAULT, DOWNLOADS, Bundled, Download, list_models, path_of

ORDER = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "filter", nargs="?", default="*", help="pattern that the names must match, such as 'liif-*' (default: all)"
    )


def run(args: argparse.Namespace) -> int:
    """Print a table of the models."""
    names = list_models(args.filter)
    if not names:
        raise LIIFError(f"models: no known model matches {args.filter!r}; known models: {', '.join(list_models())}")
    for name in names:
        model: Bundled | Download = BUNDLED[name] if name in BUNDLED else DOWNLOADS[name]
        path = path_of(name)
        present = path.is_file()
        megabytes = path.stat().st_size / 1e6 if present else getattr(model, "megabytes", 0)
        where = "installed" if present else "not downloaded" if name in DOWNLOADS else "missing"
        if present and abs(megabytes - getattr(model, "megabytes", megabytes)) > 0.02 * megabytes:
            where = "damaged"  # judged by size, because checksums take long
        default = " (default)" if name == DEFAULT else ""
        print(f"{name:<20} {megabytes:5.1f} MB  {model.license:<13} {where:<15} {model.purpose}{default}")
    return 0
