"""The command `view`: zoom into an image in the browser."""
from __future__ import annotations

import argparse
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path

import torch

from liif_basicsr.hub import add_model_argument, bundled, name_of
from liif_basicsr.hub.checkpoint import load
from liif_basicsr.images.notes import collect_notes
from liif_basicsr.images.reading import read_named, to_srgb
from liif_basicsr.viewer.rectify import Rectifier
from liif_basicsr.viewer.server import Server
from liif_basicsr.viewer.tiles import BICUBIC, Tiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("image", help="the image to zoom into")
    add_model_argument(parser)
    parser.add_argument(
        "--compare", metavar="MODEL", action="append",
        help=f"the right side (default: {BICUBIC}), and whatever else can be chosen in the page beside the bundled "
        "models; may be repeated",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=0, help="local port (default: any free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address of the page")


def run(args: argparse.Namespace) -> int:
    """Serve the page until interrupted."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    names = _offered(args.model, args.compare or [])
    networks = {_label(name, names): load(name).to(device) for name in names}
    right = (args.compare or [BICUBIC])[0]
    with collect_notes() as notes:
        source = read_named(args.image)
        tiles = Tiles(to_srgb(source), networks, BICUBIC if right == BICUBIC else _label(right, names))
    for note in notes:
        print(f"{args.image}: {note}", file=sys.stderr)
    with Server(tiles, Rectifier(tiles, source), Path(args.image).name, args.port) as server:
        print(f"{server.url}  (Ctrl-C ends)", flush=True)
        if not args.no_browser:
            webbrowser.open(server.url)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


def _offered(model: str, compared: list[str]) -> list[str]:
    """The models that the page lets one choose, the first for its left side, each once."""
    names = dict.fromkeys([model, *compared, *bundled()])
    return [name for name in names if name != BICUBIC]


def _label(model: str, models: list[str]) -> str:
    """A short name for a model, or the whole one if the short names of two models are equal."""
    return model if len({name_of(other) for other in models}) < len(models) else name_of(model)
