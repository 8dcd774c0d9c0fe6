"""Download a model that is not bundled."""
from __future__ import annotations

import argparse

from liif_basicsr.errors import LIIFError, suggest
from liif_basicsr.hub import BUNDLED, DOWNLOADS, cached, find

ORDER = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", help=f"name of the model: {' or '.join(DOWNLOADS)}")


def run(args: argparse.Namespace) -> int:
    """Download a model into the user's cache folder, unless it is already there, and print its path."""
    from liif_basicsr.hub.download import download, is_downloaded

    if args.name in BUNDLED:
        print(f"{find(args.name)}: is bundled with the package; nothing to download")
        return 0
    if args.name not in DOWNLOADS:
        raise LIIFError(f"unknown model {args.name!r}{suggest(args.name, DOWNLOADS)}")
    if is_downloaded(args.name):
        print(f"{cached(args.name)}: already downloaded")
        return 0
    model = DOWNLOADS[args.name]
    print(f"{download(args.name)}: {model.purpose} ({model.license})")
    return 0
