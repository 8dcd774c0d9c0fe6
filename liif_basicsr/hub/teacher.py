"""The teacher network for distillation."""
from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from liif_basicsr.devices import autocast, check_precision
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub.checkpoint import load

CPU = torch.device("cpu")


class Teacher:
    """A network that upscales 8-bit RGB images by its own scale.

    A Teacher can be pickled: each process loads the network on first use.

    Attributes:
        scale: the upscaling factor, an integer.
        record: identifies the teacher by its name or file, the sha256 of its parameters, and the precision.

    Args:
        name: a name or file that `load` accepts.
        precision: precision of the network, see `liif_basicsr.devices`.
        device: device of the network.

    Raises:
        LIIFError: the network does not exist or is not for RGB images, its scale is not an integer, or the device does
            not support the precision.
    """

    def __init__(self, name: str, precision: str = "float32", device: torch.device = CPU) -> None:
        check_precision(precision, device, f"--precision {precision}")
        self.name, self.precision, self.device = name, precision, device
        net: Any = _load(name, device)
        if net.scale != int(net.scale):
            raise LIIFError(f"teacher {name}: expected a network with an integer scale, got {net.scale}")
        if (net.num_in_ch, net.num_out_ch) != (3, 3):
            raise LIIFError(f"teacher {name}: expected a network for RGB images, but it takes {net.num_in_ch} channels "
                            f"and returns {net.num_out_ch}; use another network")  # fmt: skip
        self.scale = int(net.scale)
        digest = hashlib.sha256()
        for param in net.state_dict().values():
            digest.update(param.cpu().numpy().tobytes())
        self.record: dict[str, Any] = {"teacher": name, "sha256": digest.hexdigest(), "precision": precision}

    def __call__(self, lq: np.ndarray) -> np.ndarray:
        """Upscale uint8 (B, h, w, 3) RGB to uint8 (B, h * scale, w * scale, 3)."""
        size = lq.shape[1] * self.scale, lq.shape[2] * self.scale
        images = torch.tensor(lq).to(self.device).permute(0, 3, 1, 2).float() / 255  # a copy: arrays may be read-only
        net: Any = _load(self.name, self.device)
        with torch.no_grad(), autocast(self.device, self.precision):
            output = net.render(images, size)
        return (output.float() * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


@cache
def _load(name: str, device: torch.device) -> nn.Module:
    return load(name).to(device)
