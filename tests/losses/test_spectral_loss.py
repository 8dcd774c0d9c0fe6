"""SpectralLoss: its plain form, and that it looks at how much texture there is, not at where it lies."""
import numpy as np
import pytest
import torch
from basicsr.losses import build_loss

from liif_basicsr.losses.spectral_loss import SpectralLoss
from liif_basicsr.utils.errors import LIIFError


def plain(pred, target, size):
    """The loss in float64, from its description."""
    window = np.sin(np.pi * np.arange(size) / size) ** 2
    differences = []
    for one, other in zip(pred.reshape(-1, *pred.shape[-2:]), target.reshape(-1, *pred.shape[-2:]), strict=True):
        for top in range(0, one.shape[0] - size + 1, size // 2):
            for left in range(0, one.shape[1] - size + 1, size // 2):
                part = np.s_[top : top + size, left : left + size]
                a, b = (np.abs(np.fft.rfft2(x[part] * np.outer(window, window), norm="ortho")) for x in (one, other))
                differences.append(np.abs(a - b))
    return np.mean(differences)


@pytest.mark.parametrize(("shape", "size"), [((2, 3, 24, 40), 8), ((1, 1, 16, 16), 16), ((1, 3, 21, 19), 4)])
def test_it_equals_its_plain_form(shape, size):
    rng = np.random.default_rng(0)
    pred, target = rng.random(shape), rng.random(shape)
    loss = SpectralLoss(loss_weight=0.5, size=size)(torch.from_numpy(pred), torch.from_numpy(target))
    assert loss.item() == pytest.approx(0.5 * plain(pred, target, size), rel=1e-4)


def test_texture_in_another_place_costs_less_than_none():
    """A pixel loss says the opposite."""
    torch.manual_seed(0)
    texture = torch.randn(1, 1, 64, 80)
    target, moved, flat = texture[..., :64], texture[..., 3:67], torch.zeros(1, 1, 64, 64)
    loss = SpectralLoss()
    assert loss(target, target) == 0
    assert loss(moved, target) < 0.6 * loss(flat, target)
    assert (moved - target).abs().mean() > (flat - target).abs().mean()


def test_gradients_are_finite_on_a_flat_image_too():
    flat = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    SpectralLoss()(flat, torch.rand(1, 3, 32, 32)).backward()
    assert flat.grad.isfinite().all() and flat.grad.abs().max() > 0


def test_gradients_equal_finite_differences():
    torch.manual_seed(0)
    pred, target = (torch.rand(1, 1, 12, 12, dtype=torch.float64) for _ in range(2))
    loss = SpectralLoss(size=4)
    pred.requires_grad_()
    loss(pred, target).backward()
    with torch.no_grad():
        for at in ((0, 0, 5, 6), (0, 0, 2, 9)):
            step = torch.zeros_like(pred)
            step[at] = 1e-2
            slope = (loss(pred + step, target) - loss(pred - step, target)) / 2e-2
            assert pred.grad[at].item() == pytest.approx(slope.item(), rel=0.1, abs=1e-4)


def test_basicsr_builds_it_by_name():
    loss = build_loss({"type": "SpectralLoss", "loss_weight": 0.2, "size": 8})
    assert isinstance(loss, SpectralLoss) and (loss.loss_weight, loss.size) == (0.2, 8)


@pytest.mark.parametrize("size", [2, 15])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(LIIFError, match=f"size: must be an even number of at least 4, not {size}"):
        SpectralLoss(size=size)


def test_windows_below_a_block_are_refused():
    with pytest.raises(LIIFError, match="images of 8x32 are below its size 16"):
        SpectralLoss()(torch.rand(1, 3, 8, 32), torch.rand(1, 3, 8, 32))
