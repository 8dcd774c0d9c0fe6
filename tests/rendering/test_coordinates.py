"""Pixel centers, cells and corners."""
import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from liif_basicsr.rendering.coordinates import (
    corner_index,
    make_cell,
    make_coord,
    nearest_index,
    pixel_centers,
)
from liif_basicsr.rendering.queries import PixelAxis

sizes = st.integers(1, 300)


@given(n=sizes)
def test_centers_are_symmetric_and_one_pixel_apart(n):
    centers = pixel_centers(n)
    torch.testing.assert_close(centers, -centers.flip(0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(centers.numpy(force=True), oracle.centers(n), atol=1e-6)


@given(n=sizes, data=st.data())
def test_partial_ranges_equal_slices_of_all_centers(n, data):
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    assert torch.equal(pixel_centers(n, start, stop), pixel_centers(n)[start:stop])


def test_coords_run_row_by_row_in_y_x_order():
    coord = make_coord((2, 3)).view(2, 3, 2)
    assert torch.equal(coord[:, 0, 0], pixel_centers(2))
    assert torch.equal(coord[0, :, 1], pixel_centers(3))


def test_cells_tile_the_image():
    assert torch.equal(make_cell((4, 5)) * torch.tensor([4, 5]), torch.tensor([2.0, 2.0]))


@given(n=sizes)
def test_nearest_index_at_centers(n):
    assert torch.equal(nearest_index(pixel_centers(n), n), torch.arange(n))


@given(n=sizes, coord=st.floats(-1, 1, width=32))
def test_nearest_index_equals_grid_sample(n, coord):
    point = torch.tensor([coord]).clamp(-1 + 1e-6, 1 - 1e-6)
    grid = torch.stack([torch.zeros(1), point], dim=-1).view(1, 1, 1, 2)
    features = torch.arange(n).float().view(1, 1, n, 1)
    found = torch.nn.functional.grid_sample(features, grid, mode="nearest", align_corners=False)
    assert nearest_index(point, n).item() == found.item()


@given(n=sizes, coord=st.floats(-1, 1, width=32))
def test_corners_are_the_features_on_either_side(n, coord):
    point = torch.tensor([coord])
    (low,), (high,) = (corner_index(point, n, side)[0].tolist() for side in (-1, 1))
    assert 0 <= low <= high <= n - 1 and high - low <= 1
    assert low == high or oracle.centers(n)[low] - 2e-6 <= coord <= oracle.centers(n)[high] + 2e-6


@pytest.mark.parametrize("side", [-1, 0, 1])
@given(n=sizes, coord=st.floats(-1, 1, width=32))
def test_relative_coordinate_is_in_half_features(side, n, coord):
    index, rel = corner_index(torch.tensor([coord], dtype=torch.float64), n, side)
    assert rel.item() == pytest.approx((coord - oracle.centers(n)[index.item()]) * n, abs=1e-9)


@given(st.integers(1, 3000), st.integers(1, 6000), st.data())
def test_corners_in_numpy_are_bit_identical(n, n_out, data):
    start = data.draw(st.integers(0, n_out - 1))
    stop = data.draw(st.integers(start + 1, n_out))
    axis = PixelAxis(range(start, stop), n_out, n, 0, n, None, torch.device("cpu"))
    for found, expected in zip(axis.corners_in_numpy((-1, 0, 1)), axis.corners((-1, 0, 1)), strict=True):
        assert torch.equal(torch.from_numpy(found), expected)
