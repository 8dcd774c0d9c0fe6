"""The bilinear skip connection samples at exact positions in every precision."""
from __future__ import annotations

import pytest
import torch

from liif_basicsr.archs import build_network
from liif_basicsr.archs.base import ContinuousNetwork
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.coordinates import make_coord


def skip(lq: torch.Tensor, coord: torch.Tensor) -> torch.Tensor:
    """Return the skip connection's values alone, by passing an output of zeros."""
    net = build_network({"type": "LIIF", "encoder": {"type": "EDSR", "num_block": 1}, "input_skip": "bilinear"})
    return ContinuousNetwork.denormalize(net, lq.new_zeros(1, coord.shape[1], 3), lq, coord)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_only_colors_are_rounded_in_half_precision(dtype: torch.dtype) -> None:
    """Coordinates in bfloat16 would not distinguish all of the 500 columns, but only every eighth."""
    lq = (torch.arange(500) % 2).expand(1, 3, 4, 500).to(dtype)
    coord = make_coord((4, 1000))[None]
    found = skip(lq, coord)
    assert found.dtype == dtype
    assert torch.equal(found, skip(lq.float(), coord).to(dtype))


def test_double_precision_is_kept() -> None:
    assert skip(torch.rand(1, 3, 2, 3, dtype=torch.float64), make_coord((4, 9))[None]).dtype == torch.float64


def test_input_skip_needs_equal_channels() -> None:
    message = "input_skip: needs equal numbers of channels, but num_in_ch is 3 and num_out_ch is 1; set input_skip: ~"
    with pytest.raises(LIIFError, match=message):
        build_network({"type": "LIIF", "encoder": {"type": "EDSR"}, "num_out_ch": 1, "input_skip": "bilinear"})
