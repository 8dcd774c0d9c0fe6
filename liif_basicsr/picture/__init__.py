"""Pictures as people have them, enlarged: files, Pillow's images, arrays."""
from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from liif_basicsr.errors import LIIFError
from liif_basicsr.memory import check_memory
from liif_basicsr.picture.enlarge import Enlarger
from liif_basicsr.picture.reading import Picture, from_image
from liif_basicsr.picture.size import Wanted
from liif_basicsr.zoo import DEFAULT


def upscale(
    picture: Image.Image | np.ndarray,
    scale: float | tuple[float, float] | None = None,
    *,
    size: tuple[int, int] | None = None,
    model: str | Path | nn.Module = DEFAULT,
    device: str | None = None,
    precision: str | None = None,
    self_ensemble: bool = False,
) -> Image.Image | np.ndarray:
    """Enlarge a picture.

    Args:
        picture: a Pillow image, or a uint8 or uint16 array (H, W), (H, W, 1), gray and alpha (H, W, 2), RGB (H, W, 3)
            or RGBA (H, W, 4).
        scale: a factor of at least 1, or two of them, (along y, along x).
        size: (H, W) in place of a scale.
        model: a network, or what `liif_basicsr.load` takes.
        device: such as `cuda:0` or `cpu`; by default a network's own, or the best one there is.
        precision: float32, bfloat16 or float16; by default the one that is fast and exact enough, see
            `liif_basicsr.precision`.
        self_ensemble: the mean of the picture's eight turns and flips: a little better, eight times as slow.

    Returns:
        An image where an image was given, an array of the same kind where an array was. An image keeps its mode,
        ICC profile and EXIF; palettes and CMYK become RGB, and the camera's note on orientation is followed.

    Raises:
        LIIFError: a picture, a size, a model or a device that will not do, or an output that does not fit memory.
    """
    wanted = Wanted.of(scale, size)
    enlarger = Enlarger(model, device, precision, self_ensemble)
    if isinstance(picture, Image.Image):
        source = from_image(picture)
        return _image(_enlarge(source.pixels, wanted, enlarger), source)
    pixels = picture[..., None] if isinstance(picture, np.ndarray) and picture.ndim == 2 else picture
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.dtype not in (np.uint8, np.uint16):
        kind = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise LIIFError(f"picture must be a Pillow image or a uint8 or uint16 array (H, W) or (H, W, C), not {kind}")
    if not 1 <= pixels.shape[2] <= 4 or 0 in pixels.shape:
        raise LIIFError(f"picture must have pixels of 1 to 4 channels, not shape {picture.shape}")
    return _enlarge(pixels, wanted, enlarger).reshape(-1, wanted.size_of(pixels)[1], *picture.shape[2:])


def _enlarge(pixels: np.ndarray, wanted: Wanted, enlarger: Enlarger) -> np.ndarray:
    size = wanted.size_of(pixels)
    check_memory("picture", enlarger.bytes_needed(pixels, size, whole=True), "have the command write a file")
    return np.concatenate(list(enlarger.strips(pixels, size)))


def _image(pixels: np.ndarray, source: Picture) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.info.update({"icc_profile": source.icc} if source.icc else {})
    exif = source.exif_bytes(pixels.shape[:2])
    image.info.update({"exif": exif} if exif else {})
    return image
