"""A network for people's images: where and how it computes, and what it is fed and gives."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from liif_basicsr.archs.continuous_arch import ContinuousNetwork
from liif_basicsr.hub import checkpoint
from liif_basicsr.images.reading import LoadedImage, from_image
from liif_basicsr.utils.errors import LIIFError, brief
from liif_basicsr.utils.options import suggest
from liif_basicsr.utils.precision import PRECISIONS, best_precision


class Engine:
    """A network, and where and how it computes.

    Args:
        model: a network, or what `checkpoint.load` takes.
        device: such as `cuda:0` or `cpu`; by default a network's own, or the best one there is.
        precision: one of PRECISIONS; by default that of `best_precision`.

    Raises:
        LIIFError: no such model, device or precision.
    """

    def __init__(self, model: str | Path | nn.Module, device: str | None = None, precision: str | None = None) -> None:
        if precision is not None and precision not in PRECISIONS:
            raise LIIFError(f"precision: no {precision!r}{suggest(precision, PRECISIONS)}")
        if isinstance(model, nn.Module):
            if not isinstance(model, ContinuousNetwork):
                raise LIIFError(f"model must be one of this package's networks, a name or a file, not {type(model)}")
            own = str(next(model.parameters()).device)
            self.device = _device(device or own)
            if str(self.device) != own:
                raise LIIFError(f"device {device}: the network lies on {own}; move it first, with net.to({device!r})")
            self.net = model
        else:
            self.device = _device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self.net = cast(ContinuousNetwork, checkpoint.load(model).to(self.device))
        self.precision = precision

    def precision_for(self, pixels: np.ndarray) -> str:
        """The name of the precision that pixels are computed in."""
        return self.precision or best_precision(self.device, 8 * pixels.itemsize)

    def lq(self, plane: np.ndarray) -> Tensor:
        """Pixels (h, w, 1 or 3) as the network takes them: (1, 3, h, w) in [0, 1]."""
        scaled = np.divide(plane, np.iinfo(plane.dtype).max, dtype=np.float32)
        return torch.from_numpy(scaled).permute(2, 0, 1)[None].expand(1, 3, -1, -1).to(self.device)

    @staticmethod
    def check_finite(part: Tensor, precision: str) -> None:
        """Raise LIIFError for an output that holds what is no number."""
        if not torch.isfinite(part).all():
            raise LIIFError(f"the network's output is not finite in {precision}; choose precision float32")


def in_kind(
    image: Image.Image | np.ndarray, work: Callable[[np.ndarray], np.ndarray]
) -> Image.Image | np.ndarray:
    """Do something to the pixels of an image, and give it back as the kind that it came in.

    Args:
        image: a Pillow image, or a uint8 or uint16 array (H, W), (H, W, 1), gray and alpha (H, W, 2), RGB (H, W, 3)
            or RGBA (H, W, 4).
        work: pixels (h, w, C) to pixels (H, W, C) of the same dtype.

    Returns:
        An image where an image was given, an array of the same kind where an array was. An image keeps its mode,
        ICC profile and EXIF; palettes and CMYK become RGB, and the camera's note on orientation is followed.

    Raises:
        LIIFError: an image that will not do.
    """
    if isinstance(image, Image.Image):
        source = from_image(image)
        return _image(work(source.pixels), source)
    pixels = image[..., None] if isinstance(image, np.ndarray) and image.ndim == 2 else image
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.dtype not in (np.uint8, np.uint16):
        kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise LIIFError(f"image must be a Pillow image or a uint8 or uint16 array (H, W) or (H, W, C), not {kind}")
    if not 1 <= pixels.shape[2] <= 4 or 0 in pixels.shape:
        raise LIIFError(f"image must have pixels of 1 to 4 channels, not shape {image.shape}")
    output = work(pixels)
    return output.reshape(*output.shape[:2], *image.shape[2:])


def planes(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours (h, w, 1 or 3), such that those of hidden pixels do no harm, and alpha (h, w, 1) if there is one."""
    if pixels.shape[2] in (1, 3):
        return pixels, None
    return _without_hidden(pixels[..., :-1], pixels[..., -1:]), pixels[..., -1:]


def _without_hidden(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours whose fully transparent pixels, often black, have that of the nearest one that is seen.

    Else the hidden colour would come out as a fringe.
    """
    hidden = (alpha[..., 0] == 0).astype(np.uint8)
    if hidden.all() or not hidden.any():
        return colours
    _, label = cv2.distanceTransformWithLabels(hidden, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    seen = np.zeros(label.max() + 1, np.int64)  # label -> the pixel that it is of
    seen[label[hidden == 0]] = np.flatnonzero(hidden == 0)
    return colours.reshape(-1, colours.shape[2])[seen[label]]


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise LIIFError(f"device {name!r}: cannot be used here ({brief(error)}); there is always 'cpu'") from None
    return device


def _image(pixels: np.ndarray, source: LoadedImage) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.info.update({"icc_profile": source.icc} if source.icc else {})
    exif = source.exif_bytes(pixels.shape[:2])
    image.info.update({"exif": exif} if exif else {})
    return image
