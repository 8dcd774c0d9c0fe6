"""Export a model as an ONNX graph for any input and output size."""
from __future__ import annotations

import argparse
from pathlib import Path

from liif_basicsr.cli._arguments import add_import_argument, add_model_argument, import_modules
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import find

ORDER = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("output", help=".onnx file to write")
    add_model_argument(parser)
    parser.add_argument(
        "--queries", action="store_true",
        help="export a graph that takes lq, coord and cell, and returns the colors at any coordinates",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    add_import_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Export a network."""
    output = Path(args.output)
    if output.suffix != ".onnx":
        raise LIIFError(f"{output}: expected a file name that ends in .onnx")
    if output.exists() and not args.overwrite:
        raise LIIFError(f"{output}: already exists; choose another name, or pass --overwrite")
    find(args.model)
    from liif_basicsr.hub.checkpoint import load
    from liif_basicsr.hub.onnx import to_onnx

    import_modules(args.imports)
    net = load(args.model)
    to_onnx(net, output, args.queries, args.overwrite)
    if args.queries:
        inputs, colors = "coord (1, Q, 2), (y, x) in [-1, 1], and cell (1, Q, 2)", f"(1, Q, {net.num_out_ch})"
    else:
        inputs, colors = "size (H, W)", f"(1, {net.num_out_ch}, H, W)"
    print(f"{output}: inputs lq (1, {net.num_in_ch}, height, width) in [0, 1], {inputs}; output {colors} in [0, 1]")
    if net.value_range:
        low, high = net.value_range
        print(f"0 and 1 mean {low:g} and {high:g} in the training data; the graph does not convert values")
    return 0
