"""Upscaling methods to compare: networks, groups of fixed-scale networks, and Pillow's filters."""
from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor, nn

from liif_basicsr.data.decode import to_image_tensor, to_pixels
from liif_basicsr.data.sampling import resize
from liif_basicsr.devices import autocast, check_precision, open_device
from liif_basicsr.errors import LIIFError, suggest
from liif_basicsr.evaluation.cost import multiply_adds
from liif_basicsr.evaluation.sets import PixelKind
from liif_basicsr.hub import BUNDLED, DOWNLOADS, find, name_of
from liif_basicsr.hub.checkpoint import load
from liif_basicsr.rendering.orientation import ORIENTATIONS

Render = Callable[[Tensor, tuple[int, int]], Tensor]
PHOTOGRAPHS = PixelKind()
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


class Method(NamedTuple):
    """An upscaling method.

    Attributes:
        label: name in tables.
        key: identifies the method in the results file; changes with everything that affects the output.
        parameters: number of parameters, summed over a group; None for a filter.
        render: maps an image (1, C, h, w) in [0, 1] and a size (H, W) to an image (1, C, H, W). Both are on the CPU.
        multiply_adds: returns the multiply-adds per output pixel at a scale (y, x); None for a filter.
    """

    label: str
    key: str
    parameters: int | None
    render: Render
    multiply_adds: Callable[[tuple[float, float]], float] | None = None


def open_methods(
    texts: Sequence[str], precision: str = "float32", self_ensemble: bool = False, kind: PixelKind = PHOTOGRAPHS
) -> list[Method]:
    """Open several methods; see `open_method`.

    Args:
        self_ensemble: after each network, also return its self-ensemble.

    Raises:
        LIIFError: a method cannot be opened, or two have the same label.
    """
    methods = []
    for text in texts:
        method = open_method(text, precision, kind)
        is_filter = method.parameters is None
        methods += [method] if is_filter or not self_ensemble else [method, ensemble_of(method)]
    labels = [method.label for method in methods]
    for label in labels:
        if labels.count(label) > 1:
            raise LIIFError(f"{label}: two networks have this label; rename one with LABEL=FILE")
    return methods


def open_method(text: str, precision: str = "float32", kind: PixelKind = PHOTOGRAPHS) -> Method:
    """Open a method by its name on the command line.

    Args:
        text: `bicubic` or `lanczos` (Pillow's filters), the file or known name of a network, or a group of networks
            separated by commas. Of a group, the network with the nearest `scale` is used. An optional prefix `LABEL=`
            sets the label.
        precision: precision of networks, see `liif_basicsr.devices`.
        kind: channels, pixel type and value range of the images. Filters round their output to 8 bits for 8-bit images.

    Raises:
        LIIFError: a file or name is unknown, a checkpoint is invalid, a network does not fit the images, two networks
            in a group have the same scale, or the GPU does not support the precision.
    """
    label, names = _parse(text)
    if names[0] in FILTERS and len(names) == 1:
        return Method(label or names[0], f"{names[0]}-Pillow{PIL.__version__}", None, partial(_resize, names[0], kind))
    device = open_device(None)
    check_precision(precision, device, f"--precision {precision}")
    nets: list[Any] = [_load(name, kind).to(device) for name in names]
    scales = [net.scale for net in nets]
    if len(set(scales)) < len(scales):
        raise LIIFError(f"{text}: networks of a group must differ in scale, got {scales}; remove one")
    digest = hashlib.sha256()
    for name in names:
        digest.update(hashlib.sha256(find(name).read_bytes()).digest())
    return Method(
        label or "+".join(map(name_of, names)),
        f"{digest.hexdigest()[:16]}-{precision}",
        sum(p.numel() for net in nets for p in net.parameters()),
        partial(_render, nets, device, precision),
        lambda scale: multiply_adds(nearest(nets, max(scale)), scale),
    )


def ensemble_of(method: Method) -> Method:
    """Return the self-ensemble of a network: the mean output over the eight flips and transpositions of the image."""
    cost = method.multiply_adds
    return method._replace(
        label=f"{method.label}, self-ensemble",
        key=f"{method.key}-self-ensemble",
        render=partial(_render_ensemble, method.render),
        multiply_adds=cost and (lambda scale: 4 * (cost(scale) + cost(scale[::-1]))),
    )


def nearest(nets: Sequence[Any], scale: float) -> Any:
    """Return the network whose own scale is nearest to `scale`, by the ratio of the two scales."""
    return min(nets, key=lambda net: abs(math.log(net.scale / scale)))


def _parse(text: str) -> tuple[str, list[str]]:
    """Split `text` into the label (empty if there is none) and the names of the networks or the filter."""
    label, equals, what = text.partition("=")
    if not equals or Path(text).exists():
        label, what = "", text
    return label, [what] if Path(what).exists() else what.split(",")


def _load(name: str, kind: PixelKind) -> nn.Module:
    if name in FILTERS:
        raise LIIFError(f"{name}: a filter cannot be part of a group of networks; remove it")
    known = [*FILTERS, *BUNDLED, *DOWNLOADS]
    if name not in known and not Path(name).exists():
        raise LIIFError(f"{name!r}: no such file, network or filter{suggest(name, known)}")
    net: Any = load(name)
    if not net.num_in_ch == net.num_out_ch == kind.channels:
        raise LIIFError(f"{name}: maps {net.num_in_ch} channels to {net.num_out_ch}, but the images have "
                        f"{kind.channels}; use another network, or set --channels of tables.py")  # fmt: skip
    if net.value_range not in (None, kind.value_range):
        low, high = net.value_range
        raise LIIFError(f"{name}: was trained with value_range: [{low:g}, {high:g}]; use --value-range {low:g} "
                        f"{high:g} of tables.py")  # fmt: skip
    return net


def _render(nets: Sequence[Any], device: torch.device, precision: str, lq: Tensor, size: tuple[int, int]) -> Tensor:
    net = nearest(nets, max(size[0] / lq.shape[-2], size[1] / lq.shape[-1])) if len(nets) > 1 else nets[0]
    with torch.no_grad(), autocast(device, precision):
        return net.render(lq.to(device), size).float().cpu()


def _render_ensemble(render: Render, lq: Tensor, size: tuple[int, int]) -> Tensor:
    total = torch.zeros(*lq.shape[:2], *size)
    for orientation in ORIENTATIONS:
        out_size = size[::-1] if orientation.transpose else size
        total += orientation.undo(render(orientation.apply(lq), out_size))
    return total / len(ORIENTATIONS)


def _resize(name: str, kind: PixelKind, lq: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize with one of Pillow's filters: 8-bit images in 8 bits, others as floats clamped to [0, 1]."""
    eight_bits = kind.dtype == np.uint8 and kind.value_range in (None, (0, 255))
    pixels = to_pixels(lq[0]) if eight_bits else lq[0].permute(1, 2, 0).numpy()
    return to_image_tensor(resize(pixels, size, FILTERS[name]))[None]
