"""Convert a checkpoint between official LIIF and this plugin, and between .pth and .safetensors."""
from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from liif_basicsr.cli._arguments import add_import_argument, import_modules, read_text
from liif_basicsr.errors import LIIFError, errors_about

ORDER = 7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", help="checkpoint of the official LIIF code or of this plugin")
    parser.add_argument("output", help="file to write: .pth or .safetensors")
    parser.add_argument("--to-official", action="store_true", help="write a .pth that the official code loads")
    parser.add_argument(
        "--compact", action="store_true",
        help="keep only one set of parameters (the EMA if there is one), in half precision",
    )  # fmt: skip
    parser.add_argument(
        "--card", type=Path, help="text file that describes the model's purpose and data, to store in the output"
    )
    parser.add_argument("--license", help="license to store in the output, such as Apache-2.0")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    add_import_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Convert a checkpoint and print the options of its network."""
    from liif_basicsr.hub import checkpoint
    from liif_basicsr.hub.official import to_official

    output = Path(args.output)
    if output.exists() and not args.overwrite:
        raise LIIFError(f"{output}: already exists; choose another name, or pass --overwrite")
    if output.suffix not in (".pth", ".safetensors") or (args.to_official and output.suffix != ".pth"):
        raise LIIFError(f"{output}: expected a .pth file{'' if args.to_official else ' or a .safetensors file'}")
    if args.to_official and (args.card or args.license):
        raise LIIFError("--card and --license: the official format cannot store them; convert without --to-official")
    import_modules(args.imports)
    source = checkpoint.read(args.input)
    if "network_g" not in source:
        raise LIIFError(f"{args.input}: does not contain the options of its network (network_g); use a checkpoint that "
                        "LIIFModel or the official code saved")  # fmt: skip
    if args.compact:
        with errors_about(args.input):
            source = compact(source)
    if args.card:
        source["card"] = read_text(args.card, f"--card {args.card}")
    if args.license:
        source["license"] = args.license
    if args.to_official and source.get("value_range") is not None:
        raise LIIFError(f"{args.input}: has a value_range, which the official format cannot store; convert it without "
                        "--to-official")  # fmt: skip
    with errors_about(args.input):
        converted = to_official(source) if args.to_official else source
    checkpoint.save(output, converted, args.overwrite)
    kind = "official LIIF" if args.to_official else "liif_basicsr"
    print(f"{output}: checkpoint for {kind}, network_g: {source['network_g']}")
    return 0


def compact(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint with one set of parameters, the EMA if there is one, in half precision.

    The network's options, value range, card and license are kept. Integers keep their type.

    Raises:
        LIIFError: a parameter is too large for half precision, or not finite.
    """
    params = source.get("params_ema", source.get("params", {}))
    kept = {key: source[key] for key in ("network_g", "value_range", "card", "license") if key in source}
    halved = {key: value.half() if value.is_floating_point() else value for key, value in params.items()}
    broken = next((key for key, value in halved.items() if not value.isfinite().all()), None)
    if broken:
        raise LIIFError(f"{broken} contains numbers that half precision cannot store; convert without --compact")
    return {**kept, "params": halved}
