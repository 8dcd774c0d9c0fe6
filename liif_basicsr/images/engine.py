"""Engine: applies a network to images on a given device, in a given precision."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork, check_value_range
from liif_basicsr.devices import PRECISIONS, best_precision, check_precision, open_device
from liif_basicsr.errors import LIIFError, suggest
from liif_basicsr.hub import checkpoint
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.values import (
    PixelError,
    Planes,
    Range,
    check_values,
    describe_bands,
    known_range,
    split_planes,
    to_unit,
    type_limits,
)


class Engine:
    """A network that processes images on a given device, in a given precision.

    Args:
        model, device, precision, value_range: see `liif_basicsr.upscale`.

    Raises:
        LIIFError: the model, device or precision does not exist, the network is on another device, the device does not
            support the precision, or `value_range` is invalid.
    """

    def __init__(
        self,
        model: str | Path | nn.Module,
        device: str | None = None,
        precision: str | None = None,
        value_range: Range | None = None,
    ) -> None:
        self.value_range = check_value_range(value_range)
        if precision is not None and precision not in PRECISIONS:
            raise LIIFError(f"precision: unknown {precision!r}{suggest(precision, PRECISIONS)}")
        if isinstance(model, nn.Module):
            if not isinstance(model, ContinuousNetwork):
                kind = type(model).__name__
                raise LIIFError(f"model: expected a network of this package, a name or a file, got {kind}")
            self.device = next(model.parameters()).device
            if device is not None and not includes(open_device(device), self.device):
                raise LIIFError(f"device {device}: the network is on {self.device}; call net.to({device!r}) first")
            self.net = model
        else:
            self.device = open_device(device)
            self.net = checkpoint.load(model).to(self.device)
        self.precision = precision
        if precision is not None:
            check_precision(precision, self.device, f"precision {precision}")

    def precision_for(self, pixels: np.ndarray) -> str:
        """Return the name of the precision to use for these pixels."""
        return self.precision or best_precision(self.device, 8 * pixels.itemsize)

    def range_of(self, image: LoadedImage) -> Range:
        """Return the pixel values (low, high) that the network sees as 0 and 1.

        They are `value_range` if it is set, else the network's own range, else the image's.

        Raises:
            LIIFError: none of these ranges is known.
        """
        found = self.value_range or self.net.value_range or known_range(image)
        if found is None:
            valid = image.pixels[np.isfinite(image.pixels)]
            here = f"; it must include this image's values, {valid.min():g} to {valid.max():g}" if valid.size else ""
            raise PixelError(f"has {image.dtype} values, whose range is not known; pass the range of the training data "
                            f"with --value-range LOW HIGH, or in Python value_range=(low, high){here}")  # fmt: skip
        return found

    def takes_alpha(self, image: LoadedImage) -> bool:
        """Return whether the image has an opacity band in addition to the bands that the network takes.

        Raises:
            LIIFError: the network takes a different number of bands.
        """
        count, wanted = image.shape[2], self.net.num_in_ch
        if count == wanted:
            return False
        alpha = image.has_alpha
        gray_as_rgb = count - alpha == 1 and wanted == self.net.num_out_ch == 3
        if count - alpha == wanted or gray_as_rgb:
            return alpha
        found = f"has {describe_bands(image)}, but the model takes {wanted}"
        if image.shape[0] == wanted < count:
            raise PixelError(f"{found}; if its shape {image.shape} is (bands, height, width), transpose it to (height, "
                            "width, bands) with numpy.moveaxis(image, 0, -1)")  # fmt: skip
        train = f"use a network with num_in_ch: {count}"
        if count < wanted:
            raise PixelError(f"{found}; {train}")
        first = range(1, wanted + 1)
        raise PixelError(f"{found}; choose bands with --bands {','.join(map(str, first))}, in Python "
                        f"image[..., {[band - 1 for band in first]}], or {train}")  # fmt: skip

    def out_channels(self, image: LoadedImage) -> int:
        """Return the number of bands of the output, including opacity.

        Raises:
            LIIFError: see `takes_alpha`.
        """
        alpha = self.takes_alpha(image)
        return (1 if self._is_gray(image.shape[2] - alpha) else self.net.num_out_ch) + alpha

    def output_like(self, image: LoadedImage) -> LoadedImage:
        """Return the image with its own pixels, but with the metadata that the output will have."""
        channels = self.out_channels(image)
        if channels == image.shape[2]:
            return image
        return image._replace(icc=None, names=(), rgb=channels == 3, alpha=self.takes_alpha(image))

    def split(self, image: LoadedImage, tile_wrap: str = "") -> tuple[Planes, Range]:
        """Split an image into color and opacity, and return both, with the range of the color values.

        Args:
            tile_wrap: axes along which the image repeats.

        Raises:
            LIIFError: the bands do not fit the network, the range is unknown, or a value is outside the range.
        """
        planes = split_planes(image, self.takes_alpha(image), tile_wrap)
        value_range = self.range_of(image)
        check_values(planes, value_range)
        return planes, value_range

    def to_input(self, plane: np.ndarray, value_range: Range) -> Tensor:
        """Convert pixels (h, w, C) to an input of the network: (1, C, h, w) in [0, 1], on the network's device.

        Raises:
            LIIFError: the plane is opacity, and the network takes neither one nor three channels.
        """
        channels = self.net.num_in_ch
        if plane.shape[2] not in (1, channels) or (plane.shape[2] == 1 and channels not in (1, 3)):
            raise PixelError(f"has an opacity band that varies, which a model for {channels} bands cannot process; "
                             "leave it out with --bands")  # fmt: skip
        scaled = torch.from_numpy(to_unit(plane, value_range))
        return scaled.permute(2, 0, 1)[None].expand(1, channels, -1, -1).to(self.device)

    def as_gray(self, values: Tensor, plane: np.ndarray) -> Tensor:
        """Average an output (D, H, W) to (1, H, W) if its input plane (h, w, C) was gray and processed as RGB."""
        return values.mean(0, keepdim=True) if self._is_gray(plane.shape[2]) else values

    def _is_gray(self, count: int) -> bool:
        return count == 1 and self.net.num_in_ch != 1

    def to_pixels(self, values: Tensor, like: np.ndarray, value_range: Range) -> np.ndarray:
        """Convert an output (C, H, W) in [0, 1] to pixels (H, W, C) of the dtype of `like`, clipped to `value_range`.

        Raises:
            LIIFError: the output contains infinities or NaN.
        """
        if not torch.isfinite(values).all():
            precision = self.precision_for(like)
            remedy = "use another model, because the weights of this one are damaged or untrained"
            remedy = remedy if precision == "float32" else "choose precision float32"
            raise LIIFError(f"the network's output is not finite in {precision}; {remedy}")
        (low, high), (least, most) = value_range, type_limits(like.dtype)
        values = values.float().clamp(0, 1) * (high - low)
        if low or high > most:
            values = (values + low).clamp(max(low, least), min(high, most))
        if like.dtype.kind in "ui":
            values = values.round()
        if like.dtype == np.uint8:
            values = values.byte()  # so that only a quarter of the bytes must be copied from a GPU
        return values.permute(1, 2, 0).cpu().numpy().astype(like.dtype)


def includes(requested: torch.device, own: torch.device) -> bool:
    """Return whether a network on device `own` is on the requested one. `cuda` means any GPU, `cuda:1` only GPU 1."""
    return requested.type == own.type and requested.index in (None, own.index or 0)
