"""The command `download`: get a model that is not bundled, into the user's cache folder."""
from __future__ import annotations

import argparse

from liif_basicsr.config.options import suggest
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import BUNDLED, DOWNLOADS, cached, find
from liif_basicsr.hub.download import download, is_downloaded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", help=f"one of: {', '.join(DOWNLOADS)}")


def run(args: argparse.Namespace) -> int:
    """Download a model unless it is already there, and print where it is."""
    if args.name in BUNDLED:
        print(f"{find(args.name)}: is bundled")
        return 0
    if args.name not in DOWNLOADS:
        raise LIIFError(f"no model {args.name!r} to download{suggest(args.name, DOWNLOADS)}")
    if is_downloaded(args.name):
        print(f"{cached(args.name)}: already downloaded")
        return 0
    print(f"{download(args.name)}: {DOWNLOADS[args.name].about}")
    return 0
