"""What is found wrong but can be passed over, for a line each."""
from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image


@contextmanager
def noted() -> Iterator[list[str]]:
    """A list that holds, when the context has ended well, all that was warned of within, each thing once."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield notes
    notes += sorted({str(warning.message).strip() for warning in caught})
