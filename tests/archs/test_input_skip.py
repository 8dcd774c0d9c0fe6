"""The bilinear skip is at its place in every precision: coordinates are not rounded with the colours."""
from __future__ import annotations

import pytest
import torch

from liif_basicsr.archs.base import ContinuousNetwork
from liif_basicsr.rendering.coordinates import make_coord


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision_only_the_colours_are_rounded(dtype: torch.dtype) -> None:
    """In bfloat16 alone, only every eighth of 500 columns could be told apart."""
    lq = (torch.arange(500) % 2).expand(1, 3, 4, 500).to(dtype)
    coord = make_coord((4, 1000)).unflatten(0, (1, 4, 1000))
    skip = ContinuousNetwork._skip(lq, coord)
    assert skip.dtype == dtype
    assert torch.equal(skip, ContinuousNetwork._skip(lq.float(), coord).to(dtype))


def test_in_double_precision_it_stays_there() -> None:
    coord = make_coord((4, 9)).unflatten(0, (1, 4, 9))
    assert ContinuousNetwork._skip(torch.rand(1, 3, 2, 3, dtype=torch.float64), coord).dtype == torch.float64
