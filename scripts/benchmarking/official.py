"""Import and run the official code from a clone of https://github.com/yinboc/liif."""
from __future__ import annotations

import importlib
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import torch

from liif_basicsr.errors import LIIFError, summarize
from liif_basicsr.rendering.coordinates import make_cell, make_coord


def import_official(folder: Path, name: str) -> Any:
    """Import a module of the clone. TensorBoard is not required; CUDA only if it is the default device.

    Raises:
        LIIFError: the folder is not a complete clone, or a package that it requires is not installed.
    """
    if not (folder / "models" / "liif.py").is_file():
        raise LIIFError(f"--official {folder}: not a clone of https://github.com/yinboc/liif; clone it there")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    sys.modules.setdefault("tensorboardX", types.SimpleNamespace(SummaryWriter=None))  # type: ignore[arg-type]
    warnings.filterwarnings("ignore", "torch.meshgrid", UserWarning)  # the official code omits `indexing`
    if torch.get_default_device().type != "cuda":
        torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LIIFError(
            f"--official {folder}: {name} cannot be imported ({summarize(error)}); clone "
            "https://github.com/yinboc/liif completely, and install its requirements"
        ) from None


def load_official(folder: Path, checkpoint: dict[str, Any]) -> Any:
    """Build the official network from an official checkpoint, on the default device."""
    models = import_official(folder, "models")
    with torch.device("cpu"):  # the constructor mixes tensors of the default device and of the CPU
        net = models.make(checkpoint["model"], load_sd=True)
    return net.to(torch.get_default_device()).eval()


def official_render(net: Any, lq: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Render like the official demo.py, 30 000 pixels at a time, in float32 even under autocast."""
    coord = make_coord(size)[None]
    cell = make_cell(size).expand_as(coord)
    with torch.no_grad(), torch.autocast(lq.device.type, enabled=False):
        net.gen_feat((lq - 0.5) / 0.5)
        parts = [net.query_rgb(c, d) for c, d in zip(coord.split(30000, 1), cell.split(30000, 1), strict=True)]
    return (torch.cat(parts, 1) * 0.5 + 0.5).mT.unflatten(2, size)
