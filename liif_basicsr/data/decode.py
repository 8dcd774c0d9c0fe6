"""Image files to RGB pixels, and to tensors."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.formats import open_image


def decode(content: bytes, name: str) -> np.ndarray:
    """The pixels of an image file.

    Gray and palettes become RGB, alpha is dropped, 16 bits keep their upper 8; the EXIF orientation is ignored, as
    in the official code.

    Args:
        content: the file's bytes.
        name: the file's name in messages.

    Returns:
        uint8 array (H, W, 3), RGB.

    Raises:
        LIIFError: it is corrupt, truncated, of another format, or too large to be a photograph.
    """
    with _open(BytesIO(content), name) as image:
        return _rgb(image)


def size_of(path: str | Path) -> tuple[int, int]:
    """(H, W) of an image file; reads only its header.

    Raises:
        LIIFError: as `decode`.
    """
    with _open(path, str(path)) as image:
        return image.height, image.width


@contextmanager
def _open(file: str | Path | IO[bytes], name: str) -> Iterator[Image.Image]:
    """An open image; errors name the file."""
    try:
        with open_image(file, "replace or remove it") as image:
            yield image
    except LIIFError as error:
        raise LIIFError(f"{name} {error}") from None


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit gray; Pillow's own conversion would clip at 255
        gray = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def to_tensor(image: np.ndarray) -> Tensor:
    """uint8 pixels (..., C) to float32 in [0, 1], same shape."""
    # Always a copy: NumPy calls a view of a single pixel contiguous, whatever its strides.
    return torch.from_numpy(np.array(image, order="C")).float().div_(255)


def to_image_tensor(image: np.ndarray) -> Tensor:
    """uint8 array (H, W, 3) to a float32 tensor (3, H, W) in [0, 1]."""
    return to_tensor(image.transpose(2, 0, 1))


def to_pixels(image: Tensor) -> np.ndarray:
    """Tensor (3, H, W) on the CPU, clamped to [0, 1], to a uint8 array (H, W, 3)."""
    return image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
