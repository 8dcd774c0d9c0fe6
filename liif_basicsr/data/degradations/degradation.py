"""`Degradation`, which applies the block `degradation` of a dataset, and the registry of degradation types."""
from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import path as osp
from typing import Any

import numpy as np
import torch

from liif_basicsr.config.base import validate
from liif_basicsr.data.sampling import downsample
from liif_basicsr.errors import LIIFError, suggest

# Classes by name. The docstring of `liif_basicsr.data.degradations` describes their interface.
DEGRADATIONS: dict[str, Any] = {}


def register_degradation(name: str) -> Callable[[type], type]:
    """Register a class as the degradation that options select with `type: NAME`."""

    def add(cls: type) -> type:
        DEGRADATIONS[name] = cls
        return cls

    return add


class Degradation:
    """A degradation with its options.

    Attributes:
        settings: the type and all options, including defaults, as plain data. The same settings and seed always make
            the same image.

    Args:
        block: a block such as {type: photo, clean_prob: 0.1}, or a short form. The short form is a type, such as
            `photo`, or `jpeg:` with a quality or a range of qualities, such as `jpeg:60` or `jpeg:30-90`.
        where: name of the block in messages.

    Raises:
        LIIFError: the type or an option is unknown, or a value is invalid.
    """

    def __init__(self, block: Mapping[str, Any] | str, where: str = "degradation") -> None:
        block = from_text(block, where) if isinstance(block, str) else block
        if not isinstance(block, Mapping):
            raise LIIFError(f"{where}: expected a block of options or a type such as photo, got {block!r}")
        name = block.get("type")
        if not isinstance(name, str) or name not in DEGRADATIONS:
            raise LIIFError(f"{where}: type: unknown degradation {name!r}{suggest(name, DEGRADATIONS)}")
        self.settings = validate(DEGRADATIONS[name].Options, block, where).model_dump()
        self._degrade = DEGRADATIONS[name](self.settings, where)

    def __call__(self, image: np.ndarray, size: tuple[int, int], seed: int) -> np.ndarray:
        """Degrade an image.

        Args:
            image: uint8 (H, W, 3), RGB, contiguous.
            size: (h, w) of the result, not larger than the image.
            seed: determines every random choice. The state of the global generators is restored afterwards.

        Returns:
            The degraded image, uint8 (h, w, 3). With probability `clean_prob`, it is only downsampled with Pillow's
            bicubic.
        """
        if self.is_clean(seed):
            return downsample(image, size)
        with seeded(seed):
            return self._degrade(image, size)

    def is_clean(self, seed: int) -> bool:
        """Return whether an image with this seed is only downsampled."""
        return bool(np.random.default_rng(seed).random() < self.settings["clean_prob"])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators that BasicSR's functions draw from, and restore their state afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # only on the CPU: a data worker must not use a GPU
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def seed_of(path: str) -> int:
    """Return the seed for a validation image: a hash of its file name without folder and suffix."""
    return zlib.crc32(osp.splitext(osp.basename(path))[0].encode())


def from_text(text: str, where: str) -> dict[str, Any]:
    """Expand a short form, such as `jpeg:60`, to a block.

    Raises:
        LIIFError: the part after the colon is not a JPEG quality or a range of qualities.
    """
    name, colon, rest = text.partition(":")
    if not colon:
        return {"type": name}
    low, dash, high = rest.partition("-")
    if name != "jpeg" or not low.isdecimal() or not (high if dash else low).isdecimal():
        raise LIIFError(f"{where}: {text!r} is not a degradation; write a type or a short form, such as photo, "
                        "jpeg:60 or jpeg:30-90")  # fmt: skip
    return {"type": name, "jpeg_range": [int(low), int(high if dash else low)]}
