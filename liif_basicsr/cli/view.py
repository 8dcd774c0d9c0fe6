"""The command `view`: zoom into an image in the browser."""
from __future__ import annotations

import argparse
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path

import torch

from liif_basicsr.hub import add_model_argument, name_of
from liif_basicsr.hub.checkpoint import load
from liif_basicsr.images.notes import collect_notes
from liif_basicsr.images.reading import read_srgb
from liif_basicsr.viewer.server import Server
from liif_basicsr.viewer.tiles import BICUBIC, Tiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("image", help="the image to zoom into")
    add_model_argument(parser)
    parser.add_argument("--compare", metavar="MODEL", default=BICUBIC, help="the right side (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="local port (default: any free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address of the page")


def run(args: argparse.Namespace) -> int:
    """Serve the page until interrupted."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    names = [args.model] if args.compare in (BICUBIC, args.model) else [args.model, args.compare]
    networks = {_label(name, names): load(name).to(device) for name in names}
    with collect_notes() as notes:
        tiles = Tiles(read_srgb(args.image), networks)
    for note in notes:
        print(f"{args.image}: {note}", file=sys.stderr)
    with Server(tiles, Path(args.image).name, args.port) as server:
        print(f"{server.url}  (Ctrl-C ends)", flush=True)
        if not args.no_browser:
            webbrowser.open(server.url)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


def _label(model: str, models: list[str]) -> str:
    """A short name for a model, or the whole one if the short names of two models are equal."""
    return model if len({name_of(other) for other in models}) < len(models) else name_of(model)
