"""Rendering in tiles, blocks and windows equals rendering the whole image at once."""
from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from liif_basicsr.rendering.memory import Tiling


def assert_tiling_is_exact(net: Any, data: st.DataObject, tile: int, block: int) -> None:
    """Check a random window of an output of random size.

    The window is rendered in tiles with edges of `tile` input pixels, and in blocks of `block` output pixels.
    """
    h, w = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    size = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    top, left = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    window = (top, left, data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left)))
    lq = torch.rand(1, 3, h, w)
    whole = net.render(lq, size)
    net.tiling = Tiling(tile, block * 4 * net.decoder.floats_per_pixel)
    part = net.render(lq, size, window)
    expected = whole[:, :, top : top + window[2], left : left + window[3]]
    # Rounding in float32: a random search found differences of 4e-6.
    torch.testing.assert_close(part, expected, rtol=1e-5, atol=1e-5)
