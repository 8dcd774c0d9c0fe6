"""The command `convert`: turn an official LIIF checkpoint into one of ours, or back."""
from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.hub.official import to_official


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", help="a checkpoint, official or ours")
    parser.add_argument("output", help="the file to write")
    parser.add_argument("--to-official", action="store_true", help="write one that the official code loads")
    parser.add_argument("--compact", action="store_true", help="keep one set of parameters, in half precision")
    parser.add_argument("--about", help="a note to store in the file, such as how it was trained")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")


def run(args: argparse.Namespace) -> int:
    """Convert a checkpoint and print what it holds."""
    if Path(args.output).exists() and not args.overwrite:
        raise LIIFError(f"{args.output}: already exists; give another name or --overwrite")
    source = checkpoint.read(args.input)
    if "network_g" not in source:
        raise LIIFError(f"{args.input}: does not say which network it holds (it has no network_g)")
    if args.compact:
        source = compact(source)
    if args.about:
        source = {**source, "about": args.about}
    result = to_official(source, args.input) if args.to_official else source
    checkpoint.save(args.output, result)
    print(f"{args.output}: {'official LIIF' if args.to_official else 'liif_basicsr'}, {source['network_g']}")
    return 0


def compact(source: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the network's options and one set of its parameters, the EMA if there is one, in half precision."""
    params = source.get("params_ema", source.get("params", {}))
    return {"network_g": source["network_g"], "params": {key: value.half() for key, value in params.items()}}
