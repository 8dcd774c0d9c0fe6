"""A random choice of several degradations."""
from __future__ import annotations

import random
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from liif_basicsr.config.base import probabilities
from liif_basicsr.config.degradations import DegradationOptions
from liif_basicsr.data.degradations.degradation import Degradation, register_degradation


@register_degradation("mix")
class Mix:
    """Apply one of `parts`, drawn with the probabilities `part_prob`.

    A part is a block of options, or a short form such as `photo` or `jpeg:60`.
    """

    class Options(DegradationOptions):
        """Options of the degradation."""

        parts: list[Any] = Field(description="degradations; one is drawn for each image")
        part_prob: Annotated[list[float], probabilities()] = Field(description="relative frequency of each part")

        @model_validator(mode="after")
        def _check_lengths(self) -> Any:
            if len(self.parts) != len(self.part_prob):
                counts = f"{len(self.parts)} degradations, but part_prob has {len(self.part_prob)} numbers"
                raise ValueError(f"parts: has {counts}; write one number for each degradation")
            return self

    def __init__(self, settings: dict[str, Any], where: str) -> None:
        parts, self.prob = settings["parts"], settings["part_prob"]
        self.parts = [Degradation(part, f"{where}: parts: {number}") for number, part in enumerate(parts, start=1)]
        settings["parts"] = [part.settings for part in self.parts]

    def __call__(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the image, downsampled to `size` (h, w) and degraded."""
        part = random.choices(self.parts, self.prob)[0]
        return part(image, size, random.getrandbits(32))
