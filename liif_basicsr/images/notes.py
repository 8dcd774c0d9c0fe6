"""Warnings raised while an image is read or written, collected so that each is shown as one line."""
from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image


@contextmanager
def collect_notes() -> Iterator[list[str]]:
    """Yield a list that is filled with the distinct warnings of the context when it ends without an error."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield notes
    notes += sorted({str(warning.message).strip() for warning in caught})
