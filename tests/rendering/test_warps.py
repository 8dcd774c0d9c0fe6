"""Warped images equal a plain implementation's. Rotations by right angles, scaling, tiles and seams are exact."""
import cv2
import numpy as np
import pytest
import torch
import warp_oracle
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.rendering import memory, warps
from liif_basicsr.rendering.coordinates import Window, make_coord
from liif_basicsr.rendering.homographies import rotation, scaling
from liif_basicsr.rendering.warped import render_warped
from liif_basicsr.rendering.warps import Homography, PixelMap

EDSR = {"type": "EDSR", "num_feat": 4, "num_block": 1}
seeds = st.integers(0, 2**31)


def make(seed=0, **args):
    torch.manual_seed(seed)
    return build_network({"type": "LIIF", "encoder": EDSR, "hidden_dims": [12, 12], **args}).eval()


def whole(net, lq, warp, tile=None):
    return render_warped(net.encode_image(lq, 0, tile), warp, Window(0, 0, *warp.size))


def random_homography(rng, in_size, size, zoom=1.0):
    """Return a random homography with rotation, shear and slight perspective. It roughly keeps the center."""
    to_middle = np.array([[1, 0, -in_size[1] / 2], [0, 1, -in_size[0] / 2], [0, 0, 1]])
    angle = rng.uniform(-np.pi, np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    bent = np.eye(3) + np.pad(rng.uniform(-0.2, 0.2, (2, 2)), ((0, 1), (0, 1)))
    bent[:2, :2] *= zoom
    bent[2, :2] = rng.uniform(-0.2, 0.2, 2) / max(in_size) / 2
    back = np.array([[1, 0, size[1] / 2 + rng.uniform(-2, 2)], [0, 1, size[0] / 2 + rng.uniform(-2, 2)], [0, 0, 1]])
    return back @ bent @ turn @ to_middle


def plain(net, lq, position, jacobian):
    with torch.no_grad():
        feat = net.encode(lq)[0].double().numpy(force=True)
    layers = [(layer.weight.detach().double().numpy(force=True), layer.bias.detach().double().numpy(force=True))
              for layer in net.decoder.layers]  # fmt: skip
    return torch.tensor(warp_oracle.warped(feat, layers, position, jacobian)).float()


@settings(max_examples=12)
@given(seed=seeds, zoom=st.sampled_from([0.3, 1.0, 2.5]))
def test_homographies_equal_the_oracle(seed, zoom):
    rng = np.random.default_rng(seed)
    net, lq = make(seed % 7), torch.tensor(rng.random((1, 3, 7, 9), dtype=np.float32))
    size = (rng.integers(3, 9), rng.integers(3, 9))
    matrix = random_homography(rng, (7, 9), size, zoom)
    expected = plain(net, lq, *warp_oracle.homography_positions(matrix, size))
    torch.testing.assert_close(whole(net, lq, Homography(matrix, size)), expected, rtol=0, atol=1e-5)


@settings(max_examples=12)
@given(seed=seeds)
@example(seed=53695)
def test_smooth_maps_equal_the_oracle(seed):
    rng = np.random.default_rng(seed)
    net, lq = make(seed % 7), torch.tensor(rng.random((1, 3, 8, 6), dtype=np.float32))
    y, x = np.mgrid[0:7, 0:8].astype(float)
    bend = rng.uniform(-0.3, 0.3, (2, 4))
    map_x, map_y = (
        a * at + b * np.sin(at) + c * other + d * np.cos(other) - 1
        for (a, b, c, d), at, other in zip(bend + [1, 0, 0, 0], (x, y), (y, x), strict=True)
    )
    expected = plain(net, lq, *warp_oracle.map_positions(map_x, map_y))
    torch.testing.assert_close(whole(net, lq, PixelMap(map_x, map_y)), expected, rtol=0, atol=1e-5)


@settings(max_examples=15)
@given(h=st.integers(1, 20), w=st.integers(1, 20), sy=st.integers(1, 4), sx=st.integers(1, 4), seed=seeds)
def test_scaling_and_identity_equal_render(h, w, sy, sx, seed):
    net = make(seed % 7)
    torch.manual_seed(seed)
    lq = torch.rand(1, 3, h, w)
    size = (h * sy, w * sx)
    for warp in (Homography(scaling((sy, sx)), size), Homography(np.eye(3), (h, w))):
        seen = whole(net, lq, warp)
        torch.testing.assert_close(seen[:3], net.render(lq, warp.size)[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(seen[3], torch.ones(warp.size), rtol=0, atol=1e-6)


@pytest.mark.parametrize("quarters", range(-3, 5))
def test_rotation_by_right_angles(quarters):
    net, lq = make(), torch.rand(1, 3, 7, 11)
    matrix, size = rotation((7, 11), 90 * quarters)
    coord, cell = make_coord((7, 11))[None], torch.tensor([[[2 / 7, 2 / 11]]])
    expected = net.sample(lq, coord, cell)[0].mT.unflatten(1, (7, 11)).rot90(quarters, (1, 2))
    assert size == tuple(expected.shape[1:])
    torch.testing.assert_close(whole(net, lq, Homography(matrix, size))[:3], expected, rtol=0, atol=1e-5)


@settings(max_examples=15)
@given(seed=seeds, tile=st.integers(3, 12), block=st.integers(2, 20), many=st.integers(5, 200))
def test_tiles_blocks_and_windows_are_exact(seed, tile, block, many):
    rng = np.random.default_rng(seed)
    net, lq = make(), torch.tensor(rng.random((1, 3, 19, 23), dtype=np.float32))
    size = (int(rng.integers(3, 40)), int(rng.integers(3, 40)))
    warp = Homography(random_homography(rng, (19, 23), size, rng.uniform(0.4, 2)), size)
    expected = whole(net, lq, warp)
    top, left = (int(rng.integers(n)) for n in size)
    window = Window(top, left, size[0] - top, size[1] - left)
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "WARP_BLOCK", block)
        patch.setattr(memory, "WARP_QUERIES", many)
        part = render_warped(net.encode_image(lq, 0, tile), warp, window, made.append)
    torch.testing.assert_close(part, expected[:, top:, left:], rtol=0, atol=1e-5)
    assert sum(made) == window.height * window.width


def test_visible_tiles_are_encoded_once(monkeypatch):
    net, lq, encoded = make(), torch.rand(1, 3, 40, 40), []
    encode = net.encode
    monkeypatch.setattr(net, "encode", lambda lq: encoded.append(lq.shape) or encode(lq))
    monkeypatch.setattr(memory, "WARP_BLOCK", 7)
    matrix, size = rotation((40, 40), 30)
    whole(net, lq, Homography(matrix, size), tile=10)
    assert len(encoded) == 16
    encoded.clear()
    whole(net, lq, Homography(np.eye(3), (9, 25)), tile=10)
    assert len(encoded) == 3


def test_unbounded_receptive_field():
    encoder = {"type": "RCAN", "num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2}
    net, lq = make(encoder=encoder), torch.rand(1, 3, 12, 14)
    seen = whole(net, lq, Homography(scaling((2, 2)), (24, 28)), tile=5)
    torch.testing.assert_close(seen[:3], net.render(lq, (24, 28))[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_downscaling_equals_pillow_bicubic(factor):
    """The results are equal because every sample is at the center of an input pixel."""
    net, lq, n = make(), torch.rand(1, 3, 30, 30), 30 // factor
    seen = whole(net, lq, Homography(scaling((1 / factor, 1 / factor)), (n, n)))
    for plane, own in zip(net.render(lq, (30, 30))[0].numpy(force=True), seen.numpy(force=True), strict=False):
        reduced = np.asarray(Image.fromarray(plane).resize((n, n), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(own, reduced, rtol=0, atol=1e-5)


def test_map_of_a_homography_equals_the_homography():
    net, lq = make(), torch.rand(1, 3, 12, 14)
    homography = Homography(random_homography(np.random.default_rng(3), (12, 14), (20, 20)), (20, 20))
    map_y, map_x = homography.pixel_positions(Window(0, 0, 20, 20)).position.T.reshape(2, 20, 20)
    seen, expected = whole(net, lq, PixelMap(map_x, map_y)), whole(net, lq, homography)
    torch.testing.assert_close(seen[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], rtol=0, atol=5e-3)


def test_positions_equal_opencv():
    rng = np.random.default_rng(0)
    ramp_y, ramp_x = np.mgrid[0:40, 0:50].astype(np.float32)
    matrix = random_homography(rng, (40, 50), (30, 45), 1.5)
    position = Homography(matrix, (30, 45)).pixel_positions(Window(0, 0, 30, 45)).position.reshape(30, 45, 2)
    for ramp, own in ((ramp_y, position[..., 0]), (ramp_x, position[..., 1])):
        theirs = cv2.warpPerspective(ramp, matrix, (45, 30), borderMode=cv2.BORDER_CONSTANT, borderValue=-1000)
        inside = (position >= 0).all(-1) & (position[..., 0] <= 39) & (position[..., 1] <= 49)
        assert inside.sum() > 100
        np.testing.assert_allclose(own[inside], theirs[inside], atol=0.05)  # OpenCV rounds to 1/32


def test_derivatives_stop_at_seams():
    map_x = np.concatenate([np.linspace(60, 99, 40), np.linspace(0, 39, 40)])[None].repeat(3, 0)
    map_y = np.zeros_like(map_x) + np.arange(3)[:, None]
    jacobian = PixelMap(map_x, map_y).pixel_positions(Window(0, 0, 3, 80)).jacobian
    np.testing.assert_allclose(jacobian[:, 1, 1], 1)


@pytest.mark.parametrize("marked", [np.s_[:, :1], np.s_[:, -1:], np.s_[:1], np.s_[4:5, :2], np.s_[3:]])
def test_pixels_marked_as_outside_do_not_affect_others(marked):
    net, lq = make(), torch.rand(1, 3, 8, 9)
    map_y, map_x = np.mgrid[0:8, 0:9].astype(float)
    expected = whole(net, lq, PixelMap(map_x, map_y))
    map_y[marked], map_x[marked] = -1e6, -1e6
    expected[:, torch.tensor(map_x < 0)] = 0
    torch.testing.assert_close(whole(net, lq, PixelMap(map_x, map_y)), expected, rtol=0, atol=1e-5)


def test_at_most_64_samples_per_axis():
    huge = warps.PixelPositions(np.zeros(1), np.zeros((1, 2)), np.array([[[1e5, 0], [0, 2.0]]]))
    assert warps.sample_counts(huge).tolist() == [[64, 2]]


def test_maps_of_one_row_or_column():
    net, lq = make(), torch.rand(1, 3, 9, 9)
    line = np.arange(9.0)[None]
    expected = net.render(lq, (9, 9))[0]
    torch.testing.assert_close(whole(net, lq, PixelMap(line, line * 0 + 4))[:3, 0], expected[:, 4], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        whole(net, lq, PixelMap(line.T * 0 + 4, line.T))[:3, :, 0], expected[..., 4], rtol=0, atol=1e-5
    )


def test_horizon_in_the_output():
    matrix = np.linalg.inv([[1, 0, 0], [0, 1, 0], [0, -0.1, 1]])
    Homography(matrix, (9, 20))
    for rows in (11, 12, 30):
        with pytest.raises(LIIFError, match="horizon"):
            Homography(matrix, (rows, 20))


@pytest.mark.parametrize("maps, says", [
    ((np.zeros((3, 4)), np.zeros((4, 3))), "shape"), ((np.zeros(3), np.zeros(3)), "map_x"),
    ((np.zeros((3, 4)), np.full((3, 4), np.nan)), "map_y"), (([[0.0]], [[0.0]]), "map_x"),
    ((np.full((2, 2), np.inf), np.zeros((2, 2))), "map_x"), ((np.zeros((0, 3)), np.zeros((0, 3))), "shape"),
    ((np.zeros((2, 2), complex), np.zeros((2, 2))), "map_x"),
])  # fmt: skip
def test_invalid_maps(maps, says):
    with pytest.raises(LIIFError, match=says) as error:
        PixelMap(*maps)
    assert "\n" not in str(error.value)
