"""Homographies of rotations and of four corners, and invalid arguments."""
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering.homographies import check_matrix, check_quad, natural_size, rectification, rotation, scaling

seeds = st.integers(0, 2**31)


@given(degrees=st.floats(-400, 400), h=st.integers(1, 50), w=st.integers(1, 50))
def test_rotation_is_about_the_center_and_fits_the_output(degrees, h, w):
    matrix, (height, width) = rotation((h, w), degrees)
    corners = np.array([[x, y, 1] for x in (-0.5, w - 0.5) for y in (-0.5, h - 0.5)]) @ matrix.T
    assert (corners[:, :2].min(0) > -0.502).all()
    assert corners[:, 0].max() < width - 0.498 and corners[:, 1].max() < height - 0.498
    center = [(width - 1) / 2, (height - 1) / 2, 1]
    np.testing.assert_allclose(matrix @ [(w - 1) / 2, (h - 1) / 2, 1], center, atol=1e-9)
    theirs = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), degrees, 1)
    np.testing.assert_allclose(rotation((h, w), degrees, expand=False)[0][:2], theirs, atol=1e-9)


@given(seed=seeds)
def test_quad_maps_to_the_corners(seed):
    rng = np.random.default_rng(seed)
    corners = np.array([[0, 0], [90, 0], [90, 60], [0, 60]]) + rng.uniform(-15, 15, (4, 2)) + 20
    height, width = natural_size(check_quad(corners))
    moved = np.c_[corners, np.ones(4)] @ rectification(corners, (height, width)).T
    expected = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    np.testing.assert_allclose(moved[:, :2] / moved[:, 2:], expected, atol=1e-3)  # OpenCV computes in float32


def test_quad_of_the_whole_image_is_scaling():
    corners = check_quad([[0, 0], [29, 0], [29, 19], [0, 19]])
    assert natural_size(corners) == (20, 30)
    np.testing.assert_allclose(rectification(corners, (60, 60)), scaling((3, 2)), atol=1e-12)


@pytest.mark.parametrize("quad, says", [
    ([[0, 0], [9, 0], [0, 9], [9, 9]], "cross"), ([[0, 0], [9, 0], [18, 0], [0, 9]], "line"),
    ([[0, 0], [9, 0], [9, 0], [0, 9]], "line"), ([[0, 0], [0, 9], [9, 9], [9, 0]], "mirror"),
    ([[0, 0], [9, 0], [2, 2], [0, 9]], "inside"), ([[0, 0], [9, 0], [9, 9]], "four"), ("corners", "four"),
    ([[0, 0], [np.nan, 0], [9, 9], [0, 9]], "finite"), ([[5, 5]] * 4, "line"),
    ([[1, 1], [1.3, 1], [1.3, 1.3], [1, 1.3]], "less than"), ([[1, 1], [9, 1], [9, 1.4], [1, 1.4]], "less than"),
])  # fmt: skip
def test_invalid_corners(quad, says):
    with pytest.raises(LIIFError, match=says) as error:
        check_quad(quad)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("matrix, says", [
    (np.zeros((3, 3)), "singular"), ([[1, 2, 0], [2, 4, 0], [0, 0, 1]], "singular"), (np.eye(4), "3x3"),
    ([[1, 0, 0], [0, np.nan, 0]], "finite"), ("matrix", "3x3"), ([[1, 2], [3]], "3x3"), (None, "3x3"),
    ([[1, 0, 0], [0, 0, 0]], "singular"),
])  # fmt: skip
def test_invalid_matrices(matrix, says):
    with pytest.raises(LIIFError, match=says) as error:
        check_matrix(matrix)
    assert "\n" not in str(error.value)


def test_large_translations_and_tiny_scales_are_not_singular():
    check_matrix([[1e-3, 0, 5e4], [0, 1e-3, -5e4], [1e-9, 0, 1]])
    check_matrix(np.eye(3) * 1e-8)
