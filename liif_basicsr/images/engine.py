"""A network ready for people's images: on a device, fed with pixels, its output given back in the kind of the input."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from liif_basicsr.archs.base import ContinuousNetwork
from liif_basicsr.config.options import suggest
from liif_basicsr.devices import PRECISIONS, best_precision
from liif_basicsr.errors import LIIFError, brief
from liif_basicsr.hub import checkpoint
from liif_basicsr.images.reading import LoadedImage, from_image


class Engine:
    """A network on a device, with the precision that it computes in.

    Args:
        model: a network, or a name or file that `checkpoint.load` accepts.
        device: such as `cuda` or `cpu`; by default the network's own, or for a name or file the GPU if there is one.
        precision: one of PRECISIONS; by default `best_precision` chooses.

    Raises:
        LIIFError: the model, device or precision does not exist, or the network is on another device.
    """

    def __init__(self, model: str | Path | nn.Module, device: str | None = None, precision: str | None = None) -> None:
        if precision is not None and precision not in PRECISIONS:
            raise LIIFError(f"precision: no {precision!r}{suggest(precision, PRECISIONS)}")
        if isinstance(model, nn.Module):
            if not isinstance(model, ContinuousNetwork):
                raise LIIFError(f"model must be one of this package's networks, a name or a file, not {type(model)}")
            self.device = next(model.parameters()).device
            if device is not None and not includes(_device(device), self.device):
                raise LIIFError(f"device {device}: the network is on {self.device}; call net.to({device!r}) first")
            self.net = model
        else:
            self.device = _device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self.net = cast(ContinuousNetwork, checkpoint.load(model).to(self.device))
        self.precision = precision

    def precision_for(self, pixels: np.ndarray) -> str:
        """The name of the precision in which these pixels are processed."""
        return self.precision or best_precision(self.device, 8 * pixels.itemsize)

    def lq(self, plane: np.ndarray) -> Tensor:
        """Convert pixels (h, w, 1 or 3) to the input of the network: (1, 3, h, w) in [0, 1], on its device."""
        scaled = np.divide(plane, np.iinfo(plane.dtype).max, dtype=np.float32)
        return torch.from_numpy(scaled).permute(2, 0, 1)[None].expand(1, 3, -1, -1).to(self.device)

    @staticmethod
    def check_finite(part: Tensor, precision: str) -> None:
        """Raise LIIFError for an output with infinities or NaN."""
        if not torch.isfinite(part).all():
            remedy = "its weights are damaged or untrained: use another model"
            remedy = remedy if precision == "float32" else "choose precision float32"
            raise LIIFError(f"the network's output is not finite in {precision}; {remedy}")


def in_kind(
    image: Image.Image | np.ndarray, work: Callable[[np.ndarray], np.ndarray]
) -> Image.Image | np.ndarray:
    """Apply `work` to the pixels of an image and return the result as the same kind of image.

    Args:
        image: a Pillow image, or a uint8 or uint16 array (H, W), (H, W, 1), gray and alpha (H, W, 2), RGB (H, W, 3)
            or RGBA (H, W, 4).
        work: pixels (h, w, C) to pixels (H, W, C) of the same dtype.

    Returns:
        A Pillow image for a Pillow image, an array of the same dtype and number of dimensions for an array. An image
        keeps its mode, ICC profile and EXIF; palettes and CMYK become RGB, and the EXIF orientation is applied.

    Raises:
        LIIFError: an image of an unsupported kind.
    """
    if isinstance(image, Image.Image):
        source = from_image(image)
        return _image(work(source.pixels), source)
    pixels = image[..., None] if isinstance(image, np.ndarray) and image.ndim == 2 else image
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.dtype not in (np.uint8, np.uint16):
        kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise LIIFError(f"image must be a Pillow image or a uint8 or uint16 array (H, W) or (H, W, C), not {kind}")
    if not 1 <= pixels.shape[2] <= 4 or 0 in pixels.shape:
        raise LIIFError(f"image must have 1 to 4 channels and at least one pixel, not shape {image.shape}")
    output = work(pixels)
    return output.reshape(*output.shape[:2], *image.shape[2:])


def planes(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Split pixels into colours (h, w, 1 or 3), hidden ones replaced, and alpha (h, w, 1) if there is one."""
    if pixels.shape[2] in (1, 3):
        return pixels, None
    return _without_hidden(pixels[..., :-1], pixels[..., -1:]), pixels[..., -1:]


def _without_hidden(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Give fully transparent pixels, which are often black, the colour of the nearest visible pixel.

    Otherwise their hidden colour would show as a fringe.
    """
    hidden = (alpha[..., 0] == 0).astype(np.uint8)
    if hidden.all() or not hidden.any():
        return colours
    _, label = cv2.distanceTransformWithLabels(hidden, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    visible = np.zeros(label.max() + 1, np.int64)  # label -> index of its pixel
    visible[label[hidden == 0]] = np.flatnonzero(hidden == 0)
    return colours.reshape(-1, colours.shape[2])[visible[label]]


def includes(asked: torch.device, own: torch.device) -> bool:
    """Whether a network on `own` is on the device asked for: `cuda` stands for any GPU, `cuda:1` for one."""
    return asked.type == own.type and asked.index in (None, own.index or 0)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise LIIFError(f"device {name!r}: cannot be used here ({brief(error)}); 'cpu' always can'") from None
    return device


def _image(pixels: np.ndarray, source: LoadedImage) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.info.update({"icc_profile": source.icc} if source.icc else {})
    exif = source.exif_bytes(pixels.shape[:2])
    image.info.update({"exif": exif} if exif else {})
    return image
