"""Degradations: how a photograph becomes a small, blurred, noisy or compressed one.

A degradation is a class with
    fields: its options, see `liif_basicsr.config.options`;
    __init__(settings, where): takes the checked options; `where` is how to call the block in messages;
    __call__(image, size): uint8 (H, W, 3) RGB to uint8 (h, w, 3), where size is (h, w).
It draws from the generators of `random`, numpy and torch, as BasicSR's own functions do; `Degradation` seeds them.
"""
from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from os import path as osp
from typing import Any

import numpy as np
import torch

from liif_basicsr.config.checks import choice, probability
from liif_basicsr.config.options import Field, check_block, suggest
from liif_basicsr.data.sampling import downsample
from liif_basicsr.errors import LIIFError

# Type in the options -> module in this folder and class. Imported when asked for.
DEGRADATIONS = {
    "jpeg": ("jpeg", "JPEG"),
    "mix": ("mix", "Mix"),
    "photo": ("photo", "Photo"),
    "realesrgan": ("realesrgan", "RealESRGAN"),
}


class Degradation:
    """What the block `degradation` of a dataset says, or its short form.

    Attributes:
        settings: its type and all its options, as plain data: equal settings and seeds make equal images.

    Args:
        block: {type: photo, clean_prob: 0.1, ...}; a type alone, `photo`; `jpeg:60` or `jpeg:30-90`.
        where: how to call it in messages.

    Raises:
        LIIFError: a type or an option that does not exist, or a value that does not fit.
    """

    def __init__(self, block: Mapping[str, Any] | str, where: str = "degradation") -> None:
        block = from_text(block, where) if isinstance(block, str) else block
        if not isinstance(block, Mapping):
            raise LIIFError(f"{where}: must be a block of options or a type such as photo, not {block!r}")
        name = block.get("type")
        if not isinstance(name, str) or name not in DEGRADATIONS:
            raise LIIFError(f"{where}: type {name!r} does not exist{suggest(name, DEGRADATIONS)}")
        self.settings = check_block(block, fields_of(name), where)
        self._degrade: Callable[[np.ndarray, tuple[int, int]], np.ndarray] = _class(name)(self.settings, where)

    def __call__(self, image: np.ndarray, size: tuple[int, int], seed: int) -> np.ndarray:
        """Degrade one image.

        Args:
            image: uint8 (H, W, 3), RGB, contiguous.
            size: (h, w) of the result, not above that of the image.
            seed: what is drawn follows from it alone; the generators of the process are left as they were.

        Returns:
            uint8 (h, w, 3); with the probability `clean_prob`, what Pillow's bicubic makes of the image.
        """
        if self.is_clean(seed):
            return downsample(image, size)
        with seeded(seed):
            return self._degrade(image, size)

    def is_clean(self, seed: int) -> bool:
        """Whether an image of this seed is one of the share `clean_prob`, which is reduced and no more."""
        return bool(np.random.default_rng(seed).random() < self.settings["clean_prob"])


def fields_of(name: str) -> dict[str, Field]:
    """The options of a type of DEGRADATIONS."""
    return {"type": Field(choice(name)), "clean_prob": Field(probability, 0.0), **_class(name).fields}


def _class(name: str) -> Any:
    module, cls = DEGRADATIONS[name]
    return getattr(import_module(f"{__name__}.{module}"), cls)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators that BasicSR's functions draw from, and put them back as they were afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # that of the CPU alone: a worker must not touch a GPU
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def seed_of(path: str) -> int:
    """The seed of an image in validation: follows from the file's name, without folder and suffix."""
    return zlib.crc32(osp.splitext(osp.basename(path))[0].encode())


def from_text(text: str, where: str) -> dict[str, Any]:
    """The block that a short form stands for.

    Raises:
        LIIFError: something other than a JPEG quality, or a range of it, behind the colon.
    """
    name, colon, rest = text.partition(":")
    if not colon:
        return {"type": name}
    low, dash, high = rest.partition("-")
    if name != "jpeg" or not low.isdecimal() or not (high if dash else low).isdecimal():
        raise LIIFError(f"{where}: {text!r} is no short form of a degradation, such as photo, jpeg:60 or jpeg:30-90")
    return {"type": name, "jpeg_range": [int(low), int(high if dash else low)]}
