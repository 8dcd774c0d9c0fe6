"""A picture made in tiles, blocks and windows is the picture made in one."""
from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from liif_basicsr.rendering import tiles


def assert_tiles_do_not_show(net: Any, data: st.DataObject, tile: int, block: int) -> None:
    """Draw sizes and a window; what is rendered in tiles of so many inputs, blocks of so many outputs, is the same."""
    h, w = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    size = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    top, left = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    window = (top, left, data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left)))
    lq = torch.rand(1, 3, h, w)
    whole = net.render(lq, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", tile)
        patch.setattr(tiles, "BLOCK_BYTES", block * 4 * net.decoder.numbers_per_pixel)
        part = net.render(lq, size, window)
    expected = whole[:, :, top : top + window[2], left : left + window[3]]
    torch.testing.assert_close(part, expected, rtol=0, atol=2e-6)
