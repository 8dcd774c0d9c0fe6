"""Process the types of image that users pass (files, Pillow images, arrays, tensors), and return the same type."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar, cast, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from liif_basicsr.errors import LIIFError, summarize
from liif_basicsr.images.loaded import DTYPES, LoadedImage
from liif_basicsr.images.reading import from_image, read_named
from liif_basicsr.images.values import PixelError, describe_bands

AnyImage: TypeAlias = str | Path | Image.Image | np.ndarray | Tensor
SameKind = TypeVar("SameKind", Image.Image, np.ndarray, Tensor)
P = ParamSpec("P")
# Pixel types other than uint8 that Pillow images support, and the number of bands that they may have.
DEEP_MODES = (("uint16", 1), ("float32", 1))
Work = Callable[[LoadedImage], np.ndarray]


class ImageFunction(Protocol[P]):
    """Type of a function that takes an image and returns one of the same type. For a path it returns a Pillow image."""

    @overload
    def __call__(self, image: str | Path, *args: P.args, **kwargs: P.kwargs) -> Image.Image: ...
    @overload
    def __call__(self, image: SameKind, *args: P.args, **kwargs: P.kwargs) -> SameKind: ...


def returns_same_kind(function: Callable[Concatenate[AnyImage, P], AnyImage]) -> ImageFunction[P]:
    """Declare to type checkers and editors that a function returns the type of image that it takes."""
    return cast(ImageFunction[P], function)


def map_image(image: AnyImage, work: Work, bgr: bool = False) -> Any:
    """Apply a function to an image, and return the result as an image of the same type.

    Args:
        image: see `liif_basicsr.upscale`.
        work: function that takes a `LoadedImage` and returns pixels (H, W, C) of the same dtype.
        bgr: whether the colors of an array or tensor are in OpenCV's order: blue, green, red.

    Raises:
        LIIFError: the type of the image is not supported, or its file cannot be read.
    """
    if isinstance(image, (str, Path, Image.Image)):
        if bgr:
            raise LIIFError("bgr: applies only to arrays and tensors, because the color order of files and Pillow "
                            "images is known; remove bgr")  # fmt: skip
        name = "image" if isinstance(image, Image.Image) else image
        source = _from_pillow(image) if isinstance(image, Image.Image) else read_named(image)
        if not source.is_photo or source.dtype != np.uint8 and (source.dtype.name, source.shape[2]) not in DEEP_MODES:
            bits = 8 * source.dtype.itemsize
            what = f"several {bits}-bit channels" if source.is_photo else describe_bands(source)
            raise LIIFError(f"{name}: has {what}, which Pillow images do not support; use the command line, or pass "
                            "an array")  # fmt: skip
        try:
            return _to_pillow(work(source), source)
        except PixelError as error:
            raise LIIFError(f"{name}: {error}") from None
    if isinstance(image, Tensor):
        return _map_tensor(image, work, bgr)
    if isinstance(image, np.ndarray):
        pixels = image[..., None] if image.ndim == 2 else image
        output = _map_array(pixels, f"array {image.dtype} {image.shape}", work, bgr)
        return output[..., 0] if image.ndim == 2 and output.shape[2] == 1 else output
    kind = type(image).__name__
    hint = "; cv2.imread returns None for a file that it cannot read" if image is None else ""
    raise LIIFError(f"image: expected a path, a Pillow image, an array (H, W, C) or a tensor, got {kind}{hint}")


def _map_array(pixels: np.ndarray, what: str, work: Work, bgr: bool) -> np.ndarray:
    """Check pixels (h, w, C) and apply `work`. `what` describes the image in messages."""
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise LIIFError(f"image: expected (H, W) or (H, W, C), got {what}")
    if pixels.dtype.name not in DTYPES:
        raise LIIFError(f"image: expected {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, got {what}; convert it")
    if bgr and pixels.shape[2] > 4:
        raise LIIFError(f"bgr: applies only to three colors, with or without alpha, got {what}; remove bgr")
    order = [2, 1, 0, 3][: pixels.shape[2]] if bgr and pixels.shape[2] >= 3 else slice(None)
    native = np.ascontiguousarray(pixels[..., order], pixels.dtype.newbyteorder("="))
    unit = (0.0, 1.0) if pixels.dtype.kind == "f" else None
    try:
        output = work(LoadedImage(native, value_range=unit))
    except PixelError as error:
        raise LIIFError(f"image: {error}") from None
    order = order if output.shape[2] == pixels.shape[2] else slice(None)
    return np.ascontiguousarray(output[..., order], pixels.dtype)


def _map_tensor(image: Tensor, work: Work, bgr: bool) -> Tensor:
    """Apply `work` to a tensor (C, h, w) or (B, C, h, w)."""
    what = f"tensor {image.dtype} {tuple(image.shape)}"
    if image.ndim not in (3, 4) or 0 in image.shape:
        raise LIIFError(f"image: expected a tensor (C, H, W) or (B, C, H, W), got {what}")
    try:
        exact = image.detach().cpu()
        exact = exact.float() if image.dtype in (torch.bfloat16, torch.float16) else exact
        batch = exact.movedim(-3, -1).reshape(-1, *image.shape[-2:], image.shape[-3]).resolve_neg().numpy()
    except (NotImplementedError, RuntimeError, TypeError) as error:  # sparse, quantized, float8 and others
        raise LIIFError(f"image: cannot convert {what} to an array ({summarize(error)}); pass a dense tensor of uint8 "
                        "or float32") from None  # fmt: skip
    outputs = torch.stack([torch.from_numpy(_map_array(pixels, what, work, bgr)) for pixels in batch])
    return outputs.movedim(-1, -3).reshape(*image.shape[:-3], outputs.shape[-1], *outputs.shape[1:3]).to(image)


def _from_pillow(image: Image.Image) -> LoadedImage:
    try:
        return from_image(image)
    except LIIFError as error:
        raise LIIFError(f"image: {error}") from None
    except Exception as error:  # Pillow's readers raise almost any exception for closed and corrupt files
        raise LIIFError(f"image: cannot be read ({summarize(error)}); open its file again") from error


def _to_pillow(pixels: np.ndarray, source: LoadedImage) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    metadata = {
        "icc_profile": source.icc, "exif": source.exif_bytes(pixels.shape[:2]), "dpi": source.dpi, "xmp": source.xmp,
    }  # fmt: skip
    image.info.update({key: value for key, value in metadata.items() if value})
    return image
