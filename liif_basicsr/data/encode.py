"""Encode pixels without loss: as PNG where PNG supports them, otherwise as a NumPy array or a TIFF."""
from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np

from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.tiff import TILE, write_tiff


def fits_png(image: np.ndarray) -> bool:
    """Return whether PNG supports an image (H, W, C): it must be 8- or 16-bit gray or RGB."""
    return image.shape[2] in (1, 3) and image.dtype in (np.uint8, np.uint16)


def encode(image: np.ndarray, level: int) -> bytes:
    """Encode an image (H, W, C) as PNG with compression `level`, or as a NumPy array (.npy) if PNG does not support it.

    A NumPy array decodes faster than the other formats that support any data type.
    """
    if fits_png(image):
        return encode_png(image, level)
    content = BytesIO()
    np.save(content, np.ascontiguousarray(image))
    return content.getvalue()


def encode_png(image: np.ndarray, level: int) -> bytes:
    """Encode uint8 or uint16 pixels, gray (H, W, 1) or RGB (H, W, 3), as PNG with compression `level`."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, level]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.12 and newer: this filter decodes twice as fast at the same size
        options += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.shape[2] == 3 else np.ascontiguousarray(image)
    return cv2.imencode(".png", pixels, options)[1].tobytes()


def encode_tiff(image: np.ndarray) -> bytes:
    """Encode an image (H, W, C) of any data type as a TIFF with C bands."""
    content, source = BytesIO(), LoadedImage(image, rgb=image.shape[2] == 3, alpha=False)
    strips = (image[top : top + TILE] for top in range(0, image.shape[0], TILE))
    write_tiff(content, strips, source.shape, source)
    return content.getvalue()
