"""A network that others learn from, by its name or file: loaded where it is used, in each process once."""
from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from liif_basicsr.devices import autocast
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub.checkpoint import load

CPU = torch.device("cpu")


class Teacher:
    """Enlarges 8-bit images by its own scale.

    Attributes:
        scale: its own, a whole number.
        record: what tells it from others: its name or file, the sha256 of its parameters, and the precision.

    Args:
        name: what `load` takes.
        precision: see `liif_basicsr.devices`.

    Raises:
        LIIFError: no such network, or one whose scale is no whole number.
    """

    def __init__(self, name: str, precision: str = "float32") -> None:
        self.name, self.precision = name, precision
        net: Any = _load(name)
        if net.scale != int(net.scale):
            raise LIIFError(f"teacher {name}: its scale is {net.scale}; a teacher of a whole scale is needed")
        self.scale = int(net.scale)
        digest = hashlib.sha256()
        for param in net.state_dict().values():
            digest.update(param.numpy().tobytes())
        self.record: dict[str, Any] = {"teacher": name, "sha256": digest.hexdigest(), "precision": precision}

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """uint8 (h, w, 3) to uint8 (h * scale, w * scale, 3), RGB."""
        size = lq.shape[0] * self.scale, lq.shape[1] * self.scale
        image = torch.tensor(lq).permute(2, 0, 1)[None].float() / 255  # copied: what is read from a file is read-only
        net: Any = _load(self.name)
        with torch.no_grad(), autocast(CPU, self.precision):
            output = net.render(image, size)[0]
        return np.ascontiguousarray((output.float() * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


@cache
def _load(name: str) -> nn.Module:
    return load(name)
