"""Self-ensemble and strength."""
from __future__ import annotations

import numpy as np
import pytest
from image_files import model, ramp

import liif_basicsr
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import CLEAN
from liif_basicsr.images import upscale
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.upscale import Upscaler

__all__ = ["model"]


def test_self_ensemble_equals_the_mean_over_eight_orientations(model):
    enlarger = Upscaler(model, "cpu", "float32", self_ensemble=True)
    pixels, size = ramp(7, 10, 3, np.uint16), (15, 31)
    total = 0.0
    for turn in range(8):
        turned = pixels[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]
        turned = turned.swapaxes(0, 1) if turn & 4 else turned
        output = liif_basicsr.upscale(
            np.ascontiguousarray(turned), size=size[::-1] if turn & 4 else size, model=model, precision="float32"
        ).astype(float)
        output = output.swapaxes(0, 1) if turn & 4 else output
        total = total + output[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]
    assert np.abs(np.concatenate(list(enlarger.strips(LoadedImage(pixels), size))) - total / 8).max() <= 1


def test_self_ensemble_has_no_seam(model, monkeypatch):
    whole = liif_basicsr.upscale(ramp(12, 14), size=(40, 50), model=model, precision="float32", self_ensemble=True)
    monkeypatch.setattr(upscale, "STRIP_ROWS", 17)
    monkeypatch.setattr(upscale, "STRIP_COLS", 9)
    parts = liif_basicsr.upscale(ramp(12, 14), size=(40, 50), model=model, precision="float32", self_ensemble=True)
    assert np.abs(whole.astype(int) - parts).max() <= 1


@pytest.mark.parametrize("strength", [0, 0.3, 1])
@pytest.mark.parametrize("self_ensemble", [False, True])
def test_strength_weights_the_model_and_the_clean_network(model, strength, self_ensemble):
    options = {"scale": 2.6, "precision": "float32", "self_ensemble": self_ensemble}
    own, clean = (liif_basicsr.upscale(ramp(9, 14), model=net, **options).astype(float) for net in (model, CLEAN))
    mixed = liif_basicsr.upscale(ramp(9, 14), model=model, strength=strength, **options)
    assert np.abs(mixed - (strength * own + (1 - strength) * clean)).max() <= 1
    assert np.abs(own - clean).max() > 20


def test_strength_mixes_before_it_rounds(model):
    """16-bit images are used, so that a result with only 8-bit levels would fail."""
    own, clean, mixed = (
        liif_basicsr.upscale(ramp(9, 14, 3, np.uint16), 2, model=net, strength=share, precision="float32").astype(float)
        for net, share in ((model, 1), (CLEAN, 1), (model, 0.5))
    )
    assert np.abs(mixed - (own + clean) / 2).max() <= 1


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_beyond_0_to_1_is_refused(model, strength):
    with pytest.raises(LIIFError, match=r"strength: expected a number from 0 to 1, got (-0.1|1.1|nan)$"):
        liif_basicsr.upscale(ramp(9, 14), 2, model=model, strength=strength)
