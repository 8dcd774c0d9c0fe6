"""Arguments that several commands share. This module does not import PyTorch, so that `--help` is fast."""
from __future__ import annotations

import argparse
import os
from pathlib import Path

from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import DEFAULT, list_models

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")

# Shell completion of `--model`, for shtab: suggests the known models, then files.
_NAMES = " ".join(list_models())
COMPLETION_PREAMBLE = {
    "bash": f'_liif_basicsr_models() {{ compgen -W "{_NAMES}" -- $1; compgen -f -- $1; }}\n',
    "zsh": f"_liif_basicsr_models() {{ _alternative 'models:model:({_NAMES})' 'files:file:_files' }}\n",
}
COMPLETE_MODELS = {"bash": "_liif_basicsr_models", "zsh": "_liif_basicsr_models"}
COMPLETE_FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}


def add_model_argument(parser: argparse._ActionsContainer, default: str = DEFAULT) -> None:
    """Declare `--model`."""
    model = parser.add_argument(
        "--model", default=default, metavar="MODEL",
        help=f"{', '.join(list_models())}, or a .pth or .safetensors file (default: %(default)s); "
        "`liif-basicsr models` describes the named models",
    )  # fmt: skip
    model.complete = COMPLETE_MODELS  # type: ignore[attr-defined]


def add_import_argument(parser: argparse._ActionsContainer) -> None:
    """Declare `--import`."""
    parser.add_argument(
        "--import", dest="imports", metavar="MODULE", action="append", default=[],
        help="first import this Python module, which registers the model's network; may be repeated",
    )  # fmt: skip


def add_engine_arguments(parser: argparse._ActionsContainer) -> None:
    """Declare `--device`, `--precision`, `--import`, `--yes`, `--bands` and `--value-range`."""
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:0 (default: the GPU if there is one)")
    parser.add_argument(
        "--precision", choices=PRECISIONS,
        help="number format of the computations (default: bfloat16 for 8-bit images if the processor has instructions "
        "for it, else float32)",
    )  # fmt: skip
    add_import_argument(parser)
    parser.add_argument("--yes", action="store_true", help="allow very large inputs and outputs")
    parser.add_argument(
        "--bands", metavar="N,N,...", help="use only these bands of the image, in this order; the first band is 1"
    )
    parser.add_argument(
        "--value-range", type=float, nargs=2, metavar=("LOW", "HIGH"),
        help="pixel values that the model sees as 0 and 1 (default: the range that the model was trained with, or "
        "else the full range of uint8 and uint16; other pixel types need this option)",
    )  # fmt: skip


def show(name: str | Path) -> str:
    """Format a name on one line, with unprintable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


def is_missing(path: str | Path) -> bool:
    """Return whether a path does not exist. If one of its parent folders cannot be read, return False."""
    try:
        os.lstat(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def read_text(path: Path, where: str) -> str:
    """Read a text file.

    Args:
        where: start of the error message.

    Raises:
        LIIFError: the file cannot be read, or is not text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise LIIFError(f"{where}: cannot be read: {reason}") from None


def import_modules(names: list[str]) -> None:
    """Import the modules that `--import` names. They may also be in the current folder.

    Raises:
        LIIFError: a module cannot be imported.
    """
    import sys
    from importlib import import_module

    if names and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    for name in names:
        try:
            import_module(name)
        except Exception as error:  # the user's own code may raise anything
            raise LIIFError(f"--import {name}: cannot be imported ({type(error).__name__}: {error})") from None


def apply_engine_arguments(args: argparse.Namespace) -> None:
    """Import the modules that `--import` names. With `--yes`, also lift Pillow's limit on the pixels of an image.

    Raises:
        LIIFError: see `import_modules`.
    """
    if args.yes:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None
    import_modules(args.imports)
