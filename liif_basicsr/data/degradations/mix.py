"""A random choice of several degradations."""
from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from liif_basicsr.config import checks
from liif_basicsr.config.options import Field
from liif_basicsr.data.degradations.degradation import Degradation, register
from liif_basicsr.errors import LIIFError


@register("mix")
class Mix:
    """Draw one of `parts`, a list of degradations (blocks or short forms), with the probabilities `part_prob`."""

    fields: Mapping[str, Field] = {"parts": Field(checks.anything), "part_prob": Field(checks.weights)}

    def __init__(self, settings: dict[str, Any], where: str) -> None:
        parts, self.prob = settings["parts"], settings["part_prob"]
        if not isinstance(parts, (list, tuple)) or len(parts) != len(self.prob):
            raise LIIFError(f"{where}: parts: must be a list with one degradation for each number in part_prob")
        self.parts = [Degradation(part, f"{where}: parts: {number}") for number, part in enumerate(parts, start=1)]
        settings["parts"] = [part.settings for part in self.parts]

    def __call__(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Degrade an image to `size` (h, w)."""
        part = random.choices(self.parts, self.prob)[0]
        return part(image, size, random.getrandbits(32))
