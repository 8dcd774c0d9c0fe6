"""Zoom into an image in the browser, at any scale."""
from __future__ import annotations

import argparse
import sys
import webbrowser
from contextlib import suppress

from liif_basicsr.cli._arguments import add_model_argument, is_missing, show
from liif_basicsr.errors import LIIFError, errors_about
from liif_basicsr.hub import CLEAN, bundled, find, name_of

ORDER = 2
BICUBIC = "bicubic"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("image", nargs="?", help="image to open; you can open others on the page")
    add_model_argument(parser)
    parser.add_argument(
        "--compare", metavar="MODEL", action="append",
        help=f"model for the right side of the page (default: {BICUBIC}); repeat the option to add models to the "
        "page's lists, which always contain the bundled models",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=0, help="local port (default: any free port)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address of the page")


def run(args: argparse.Namespace) -> int:
    """Serve the page until the user interrupts it."""
    if args.image is None:
        raise LIIFError("view: the image is missing; name one, as in `liif-basicsr view photo.jpg`")
    if is_missing(args.image):
        raise LIIFError(f"{show(args.image)}: no such file")
    compared = args.compare or []
    # The models of the page's lists. At first, the left side shows the first one.
    models = [model for model in dict.fromkeys([args.model, *compared, *bundled()]) if model != BICUBIC]
    for model in models:
        find(model)
    from liif_basicsr.devices import open_device
    from liif_basicsr.hub.checkpoint import load
    from liif_basicsr.images.formats import collect_notes
    from liif_basicsr.images.reading import read_named, to_srgb
    from liif_basicsr.viewer.server import ImagePage, Server
    from liif_basicsr.viewer.tiles import Tiles

    device = open_device(None)
    are_distinct = len({name_of(model) for model in models}) == len(models)
    labels = {model: name_of(model) if are_distinct else model for model in models}
    networks = {label: load(model).to(device) for model, label in labels.items()}
    with collect_notes() as notes:
        source = read_named(args.image)
        with errors_about(args.image):
            image = to_srgb(source)
        tiles = Tiles(image, networks, labels.get((compared or [BICUBIC])[0], BICUBIC), labels.get(CLEAN))
    for note in notes:
        print(f"{args.image}: {note}", file=sys.stderr)
    page = ImagePage(tiles, source, args.image, {label: model for model, label in labels.items()}, tuple(notes))
    with Server(page, args.port) as server:
        print(f"{server.url}  (press Ctrl-C to stop)", flush=True)
        if not args.no_browser:
            webbrowser.open(server.url)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0
