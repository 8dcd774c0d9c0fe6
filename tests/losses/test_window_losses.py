"""TextureLoss and GridLoss compared with plain NumPy code, and their sensitivity to errors."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from basicsr.losses import build_loss
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from liif_basicsr.losses.grid_loss import GridLoss
from liif_basicsr.losses.texture_loss import TextureLoss

LEVEL, EDGE, SPOT = np.array([1, 2, 1]) / 4, np.array([-1, 0, 1]) / 2, np.array([-1, 2, -1]) / 2
SECOND = [(LEVEL, SPOT), (SPOT, LEVEL), (EDGE, EDGE), (SPOT, SPOT)]
MASKS = [(LEVEL, EDGE), (EDGE, LEVEL), *SECOND]
SIDE = 32


def array(images: torch.Tensor) -> np.ndarray:
    return images.numpy(force=True)


def images(seed: int, count: int = 2, side: int = SIDE) -> torch.Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    values = torch.rand(count, 3, side, side, generator=generator, dtype=torch.float64, device="cpu")
    return values.to(torch.get_default_device())


# Plain forms, of arrays (3, H, W) ---------------------------------------------------------------------------


def luma(image: np.ndarray) -> np.ndarray:
    """Return the full-range luma of BT.601. The weights 0.299, 0.587 and 0.114 follow from the official constants."""
    return (65.738 * image[0] + 129.057 * image[1] + 25.064 * image[2]) / 219.859


def detail(image: np.ndarray, masks: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    around = sliding_window_view(image, (3, 3))
    return np.stack([(around * np.outer(y, x)).sum((2, 3)) for y, x in masks])


def means(values: np.ndarray, side: int, step: int) -> np.ndarray:
    return sliding_window_view(values, (side, side), axis=(-2, -1))[..., ::step, ::step, :, :].mean((-2, -1))


def plain_texture(output: np.ndarray, gt: np.ndarray, windows: tuple[int, ...]) -> float:
    def energies(image: np.ndarray) -> list[np.ndarray]:
        full = luma(image)
        half = (full[::2, ::2] + full[1::2, ::2] + full[::2, 1::2] + full[1::2, 1::2]) / 4
        return [np.sqrt(means(detail(y, MASKS) ** 2, side, 2) + 1e-6) for y in (full, half) for side in windows]

    return sum(np.abs(a - b).mean() for a, b in zip(energies(output), energies(gt), strict=True))


def correlation(fine: np.ndarray, step: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    height, width = fine.shape[1:]
    further, inside = np.zeros_like(fine), np.zeros((1, height, width))
    for i, j in np.ndindex(height, width):
        y, x = i + step[0], j + step[1]
        if y <= height - 1 and x <= width - 1:
            inside[0, i, j] = 1
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            for di, dj in np.ndindex(2, 2):
                weight = (1 - abs(y - top - di)) * (1 - abs(x - left - dj))
                further[:, i, j] += weight * fine[:, top + di, left + dj]
    here = fine * inside
    size = np.sqrt(means(here**2, 19, 4) * means(further**2, 19, 4) + 1e-12)
    return means(here * further, 19, 4) / size, means(inside, 19, 4)


def plain_grid(
    output: np.ndarray, gt: np.ndarray, pitch: tuple[float, float], strength: np.ndarray | None = None
) -> float:
    if min(pitch) <= 2:
        return 0.0
    fine, true, total = detail(luma(output), SECOND), detail(luma(gt), SECOND), 0.0
    strength = np.sqrt(means(fine**2, 19, 4)) if strength is None else strength
    for lag in ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2)):
        step = lag[0] * pitch[0], lag[1] * pitch[1]
        own, share = correlation(fine, step)
        excess = np.maximum(np.abs(own) - np.abs(correlation(true, step)[0]), 0)
        total += (strength * share * excess).mean()
    return total


# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("windows", [(3, 5), (4,), (9, 3, 7)])
def test_texture_loss_equals_its_plain_form(windows: tuple[int, ...]) -> None:
    output, gt = images(0), images(1) / 2
    expected = np.mean([plain_texture(a, b, windows) for a, b in zip(array(output), array(gt), strict=True)])
    loss = build_loss({"type": "TextureLoss", "loss_weight": 3.0, "windows": list(windows)})
    assert loss(output, gt).item() == pytest.approx(3 * expected, rel=1e-10)


@pytest.mark.parametrize("pitch", [(4.0, 4.0), (2.5, 3.75), (7.3, 2.2), (1.9, 4.0)])
def test_grid_loss_equals_its_plain_form(pitch: tuple[float, float]) -> None:
    output, gt = images(2), images(3)
    output[0, :, ::4] += 0.3  # a repetition to detect
    pitches = [pitch, (3.0, 5.5)]
    expected = np.mean([plain_grid(a, b, p) for a, b, p in zip(array(output), array(gt), pitches, strict=True)])
    loss = GridLoss().compare(output, gt, torch.tensor(pitches, dtype=torch.float64))
    assert loss.item() == pytest.approx(expected, rel=1e-8)


def assert_slopes(loss: torch.Tensor, output: torch.Tensor, plain: Callable[[np.ndarray], float]) -> None:
    """Compare the gradients at a few pixels of an output (1, 3, H, W) with central differences of the plain form."""
    loss.backward()
    values = array(output[0])
    for pixel in ((0, 5, 6), (1, 20, 31), (2, 31, 0), (1, 16, 16)):
        step = np.zeros_like(values)
        step[pixel] = 1e-6
        slope = (plain(values + step) - plain(values - step)) / 2e-6
        assert output.grad[(0, *pixel)].item() == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_texture_loss_has_the_gradients_of_its_plain_form() -> None:
    output, gt = images(4, 1).requires_grad_(), images(5, 1)
    assert_slopes(TextureLoss()(output, gt), output, lambda values: plain_texture(values, array(gt[0]), (3, 5)))


def test_grid_loss_has_the_gradients_of_its_plain_form() -> None:
    """The strength of the detail is a weight without gradient, so the loss is not lowered by removing detail."""
    output, gt, pitch = images(6, 1), images(7, 1), (3.2, 4.0)
    output[:, :, ::4] += 0.5
    output.requires_grad_()
    strength = np.sqrt(means(detail(luma(array(output[0])), SECOND) ** 2, 19, 4))
    loss = GridLoss().compare(output, gt, torch.tensor([pitch]).double())
    assert_slopes(loss, output, lambda values: plain_grid(values, array(gt[0]), pitch, strength))


@given(seed=st.integers(0, 99), shift=st.integers(-3, 3), brighter=st.floats(-0.2, 0.2))
def test_missing_detail_costs_more_than_misplaced_detail(seed: int, shift: int, brighter: float) -> None:
    """A pixel loss, in contrast, is lower for the mean color than for misplaced texture."""
    gt, loss = images(seed), TextureLoss()
    misplaced, smooth = gt.roll(shift, 3) + brighter, gt.mean((2, 3), keepdim=True).expand_as(gt)
    assert loss(misplaced, gt) < 0.5 * loss(smooth, gt)
    if shift:
        assert (misplaced - gt).abs().mean() > (smooth - gt).abs().mean()


@given(seed=st.integers(0, 99), pitch=st.floats(3, 6), sign=st.booleans())
@example(seed=1, pitch=3.0, sign=True)
def test_only_the_outputs_grid_of_input_pixels_is_penalized(seed: int, pitch: float, sign: bool) -> None:
    """Repetition is also found if the pattern changes sign from one input pixel to the next (`sign`).

    The pattern then has 1.5 cycles per input pixel. This exceeds the Nyquist frequency if an input pixel is less than 3
    output pixels wide.
    """
    gt = 0.1 * images(seed, 1, 56)
    position = torch.arange(56, dtype=torch.float64) / pitch
    wave = torch.cos((2 + sign) * np.pi * position)
    grid, both = 0.2 * wave[:, None] * wave, torch.tensor([[pitch, pitch]], dtype=torch.float64)
    pairs, loss = ((gt, gt), (gt + grid, gt), (gt, gt + grid)), GridLoss()
    costs = [loss.compare(image, target, both).item() for image, target in pairs]
    assert costs[0] == 0
    assert costs[1] > 10 * costs[2]


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_texture_loss_of_other_channels_is_the_mean_over_them(channels: int) -> None:
    output, gt = (torch.cat([images(seed), images(seed + 2)], dim=1)[:, :channels] for seed in (0, 1))
    gray = [TextureLoss()(*(image[:, k : k + 1].expand(-1, 3, -1, -1) for image in (output, gt)))
            for k in range(channels)]  # fmt: skip
    torch.testing.assert_close(TextureLoss()(output, gt), torch.stack(gray).mean())


def test_windows_that_are_too_small() -> None:
    with pytest.raises(ValueError, match="windows of 9 pixels need images of at least 22x22; .*sample_q: 484 or more"):
        TextureLoss(windows=(3, 9))(images(0, 1, 21), images(1, 1, 21))
    assert TextureLoss(windows=(3, 9))(images(0, 1, 22), images(1, 1, 22)) > 0
