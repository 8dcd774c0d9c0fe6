"""A network that others are distilled from."""
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
    """Upscales 8-bit images by its own scale. It can be pickled: each process loads the network once.

    Attributes:
        scale: an integer.
        record: identifies the teacher: its name or file, the sha256 of its parameters, and the precision.

    Args:
        name: a name or file that `load` accepts.
        precision: see `liif_basicsr.devices`.

    Raises:
        LIIFError: the network does not exist, is not for RGB, or its scale is not an integer.
    """

    def __init__(self, name: str, precision: str = "float32") -> None:
        self.name, self.precision = name, precision
        net: Any = _load(name)
        if net.scale != int(net.scale):
            raise LIIFError(f"teacher {name}: expected a network with an integer scale, got {net.scale}")
        if (net.num_in_ch, net.num_out_ch) != (3, 3):
            raise LIIFError(f"teacher {name}: takes {net.num_in_ch} channels; teachers upscale RGB images with 8 bits")
        self.scale = int(net.scale)
        digest = hashlib.sha256()
        for param in net.state_dict().values():
            digest.update(param.numpy().tobytes())
        self.record: dict[str, Any] = {"teacher": name, "sha256": digest.hexdigest(), "precision": precision}

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """Upscale uint8 (h, w, 3) RGB to uint8 (h * scale, w * scale, 3)."""
        size = lq.shape[0] * self.scale, lq.shape[1] * self.scale
        image = torch.tensor(lq).permute(2, 0, 1)[None].float() / 255  # a copy, because arrays from files are read-only
        net: Any = _load(self.name)
        with torch.no_grad(), autocast(CPU, self.precision):
            output = net.render(image, size)[0]
        return np.ascontiguousarray((output.float() * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


@cache
def _load(name: str) -> nn.Module:
    return load(name)
