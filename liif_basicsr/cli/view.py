"""The command `view`: zoom into an image in the browser."""
from __future__ import annotations

import argparse
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path

import torch

from liif_basicsr.hub import add_model_argument
from liif_basicsr.hub.checkpoint import load
from liif_basicsr.images.notes import collect_notes
from liif_basicsr.images.reading import read_srgb
from liif_basicsr.viewer.server import Server
from liif_basicsr.viewer.tiles import Tiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("image", help="the image to zoom into")
    add_model_argument(parser)
    parser.add_argument("--port", type=int, default=0, help="local port (default: any free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address of the page")


def run(args: argparse.Namespace) -> int:
    """Serve the page until interrupted."""
    net = load(args.model).to("cuda" if torch.cuda.is_available() else "cpu")
    with collect_notes() as notes:
        tiles = Tiles(read_srgb(args.image), net)
    for note in notes:
        print(f"{args.image}: {note}", file=sys.stderr)
    with Server(tiles, Path(args.image).name, args.port) as server:
        print(f"{server.url}  (Ctrl-C ends)", flush=True)
        if not args.no_browser:
            webbrowser.open(server.url)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0
