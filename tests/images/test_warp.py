"""warp, remap and rotate keep the type of an image, and follow OpenCV's conventions."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from image_files import SRGB, exif_of, image, model, ramp

import liif_basicsr
from liif_basicsr.errors import LIIFError
from liif_basicsr.images import warp as module
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.warp import Warper
from liif_basicsr.rendering.homographies import rotation, scaling
from liif_basicsr.rendering.warps import Homography

__all__ = ["model"]

EXACT = {"precision": "float32"}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (6, 7, 2), (6, 7, 3), (6, 7, 4)])
def test_arrays_keep_their_kind(model, shape, dtype):
    pixels = ramp(*shape, dtype=dtype) if len(shape) == 3 else ramp(*shape, 1, dtype)[..., 0]
    for output, size in (
        (liif_basicsr.warp(pixels, np.eye(3), (5, 9), model=model), (5, 9)),
        (liif_basicsr.remap(pixels, np.ones((4, 3)), np.ones((4, 3)), model=model), (4, 3)),
        (liif_basicsr.rotate(pixels, 90, scale=2, model=model), (14, 12)),
    ):
        assert output.dtype == dtype and output.shape == (*size, *shape[2:])


@pytest.mark.parametrize("mode, becomes", [
    ("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("I;16", "I;16"), ("P", "RGB"), ("CMYK", "RGB"),
])  # fmt: skip
def test_images_keep_their_kind_profile_and_exif(model, mode, becomes):
    loaded = image(mode)
    loaded.info.update({"exif": exif_of("a text").tobytes()} | ({"icc_profile": SRGB} if mode == "RGB" else {}))
    output = liif_basicsr.rotate(loaded, 10, expand=False, model=model)
    assert (output.mode, output.size) == (becomes, loaded.size)
    assert output.getexif()[0x010E] == "a text" and output.info.get("icc_profile") == loaded.info.get("icc_profile")


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_scaling_equals_upscale(model, scale):
    pixels = ramp(9, 14)
    output = liif_basicsr.warp(pixels, scaling((scale, scale)), (9 * scale, 14 * scale), model=model, **EXACT)
    assert np.array_equal(output, liif_basicsr.upscale(pixels, scale=scale, model=model, **EXACT))


def bilinear(model):
    """A network whose decoder adds nothing to the bilinearly upsampled input."""
    net = liif_basicsr.load(model)
    torch.nn.init.zeros_(net.decoder.layers[-1].weight)
    torch.nn.init.zeros_(net.decoder.layers[-1].bias)
    return net


@pytest.mark.parametrize("channels, dtype", [(1, np.uint8), (3, np.uint16), (4, np.uint8)])
def test_smooth_images_are_warped_as_opencv_does(model, channels, dtype):
    net, pixels, step = bilinear(model), ramp(30, 40, channels, dtype), np.iinfo(dtype).max / 200
    matrix = np.array([[1.5, 0.4, -3], [-0.3, 1.7, 9], [0.002, -0.001, 1]])
    own = liif_basicsr.warp(pixels, matrix, (50, 70), model=net, **EXACT).astype(float).reshape(50, 70, -1)
    theirs = cv2.warpPerspective(pixels, matrix, (70, 50)).astype(float).reshape(50, 70, -1)
    inside = cv2.erode(cv2.warpPerspective(np.ones((30, 40), np.uint8), matrix, (70, 50)), np.ones((9, 9))) > 0
    assert inside.sum() > 500 and np.abs(own - theirs)[inside].mean() < step
    outside = cv2.dilate(cv2.warpPerspective(np.ones((30, 40), np.uint8), matrix, (70, 50)), np.ones((9, 9))) == 0
    assert outside.sum() > 50 and (own[outside] == 0).all()


def test_remap_by_a_rotations_positions_equals_rotate(model):
    pixels = ramp(20, 24)
    matrix, size = rotation((20, 24), 20, scale=(2, 2))
    x, y = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    map_x, map_y, _ = np.tensordot(np.linalg.inv(matrix), np.stack([x, y, x * 0 + 1]), 1)
    remapped = liif_basicsr.remap(pixels, map_x.astype(np.float32), map_y.astype(np.float32), model=model, **EXACT)
    turned = liif_basicsr.rotate(pixels, 20, scale=2, model=model, **EXACT)
    assert np.abs(remapped.astype(int) - turned).max() <= 1


def test_half_turn_is_the_flipped_image(model):
    pixels = ramp(9, 14)
    half = liif_basicsr.rotate(pixels, 180, model=model, **EXACT)
    same = liif_basicsr.rotate(pixels, 0, model=model, **EXACT)
    assert np.abs(half[::-1, ::-1].astype(int) - same).max() <= 1


@pytest.mark.parametrize("channels, fill", [(1, 200), (3, (10, 20, 30)), (3, 255), (4, (1, 2, 3, 255)), (2, 0)])
def test_fill_lies_outside(model, channels, fill):
    corner = liif_basicsr.rotate(ramp(20, 20, channels), 45, fill=fill, model=model)[0, 0]
    assert corner.tolist() == np.broadcast_to(fill, channels).tolist()


def test_edges_fade_into_the_fill(model):
    white = np.full((20, 20, 3), 200, np.uint8)
    turned = liif_basicsr.rotate(white, 30, model=bilinear(model), **EXACT)[..., 0]
    assert turned.max() == 200 and turned.min() == 0
    assert 20 < ((turned > 5) & (turned < 195)).sum() < 200
    assert abs(turned.sum() / 200 - 400) < 4


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_outside_leaves_no_fringe(model, channels):
    pixels = np.full((20, 20, channels), 200, np.uint8)
    turned = liif_basicsr.rotate(pixels, 30, model=bilinear(model), **EXACT)
    seen = turned[..., -1] > 0
    assert (turned[..., 0][seen] >= 199).all() and len(np.unique(turned[..., -1])) > 10


def test_alpha_is_warped_like_a_color(model):
    pixels = ramp(20, 20, 4)
    warper = Warper(model, "cpu", "float32")
    warp = Homography(*rotation((20, 20), 25, scale=(2.0, 2.0)))
    whole, alone = warper.whole(LoadedImage(pixels), warp, 0), warper.whole(LoadedImage(pixels[..., 3:]), warp, 0)
    assert np.abs(whole[..., 3:].astype(int) - alone).max() <= 1


def test_strips_and_bands_join_without_a_seam(model, monkeypatch):
    pixels, made = ramp(30, 40), []
    warper, warp = Warper(model, "cpu", "float32"), Homography(*rotation((30, 40), 35, scale=(1.0, 1.0)))
    whole = warper.whole(LoadedImage(pixels), warp, 0)
    monkeypatch.setattr(module, "STRIP_ROWS", 8)
    monkeypatch.setattr(module, "WARP_BAND", 900)
    strips = list(warper.strips(LoadedImage(pixels), warp, 0, made.append))
    assert {len(strip) for strip in strips[:-1]} == {8} and sum(made) == whole.shape[0] * whole.shape[1]
    assert np.abs(np.concatenate(strips).astype(int) - whole).max() <= 1


def test_bfloat16_is_within_a_few_steps_of_float32(model):
    both = [liif_basicsr.rotate(ramp(20, 20), 33, model=model, precision=p) for p in ("float32", "bfloat16")]
    assert np.abs(both[0].astype(int) - both[1]).max() <= 3


@pytest.mark.parametrize("call, says", [
    (lambda im, m: liif_basicsr.warp(im, np.zeros((3, 3)), (5, 5), model=m), "singular"),
    (lambda im, m: liif_basicsr.warp(im, [[1, 0, 0], [0, 1, 0], [0, -0.1, 1]], (30, 5), model=m), None),
    (lambda im, m: liif_basicsr.warp(im, [[1, 0, 0], [0, 1, 0], [0, 0.1, 1]], (30, 5), model=m), "horizon"),
    (lambda im, m: liif_basicsr.warp(im, np.eye(3), (0, 5), model=m), "size"),
    (lambda im, m: liif_basicsr.warp(im, np.eye(3), 5, model=m), "size"),
    (lambda im, m: liif_basicsr.warp(im, np.eye(3), (10**6, 10**6), model=m), "memory"),
    (lambda im, m: liif_basicsr.warp("none.jpg", np.eye(3), (5, 5), model=m), "none.jpg: cannot be read"),
    (lambda im, m: liif_basicsr.warp(im, np.eye(3), (5, 5), model="liif-lihgt"), "did you mean"),
    (lambda im, m: liif_basicsr.warp(im, np.eye(3), (5, 5), model=m, fill=300), "fill"),
    (lambda im, m: liif_basicsr.warp(im, np.eye(3), (5, 5), model=m, fill=(1, 2)), "fill"),
    (lambda im, m: liif_basicsr.warp(im, np.eye(3), (5, 5), model=m, fill="red"), "fill"),
    (lambda im, m: liif_basicsr.remap(im, np.zeros((2, 3)), np.zeros((3, 2)), model=m), "shape"),
    (lambda im, m: liif_basicsr.remap(im, np.full((2, 2), np.nan), np.zeros((2, 2)), model=m), "NaN"),
    (lambda im, m: liif_basicsr.rotate(im, float("nan"), model=m), "degrees"),
    (lambda im, m: liif_basicsr.rotate(im, "30", model=m), "degrees"),
    (lambda im, m: liif_basicsr.rotate(im, 30, scale=0, model=m), "scale"),
    (lambda im, m: liif_basicsr.rotate(im, 30, device="gpu", model=m), "device"),
])  # fmt: skip
def test_bad_input_is_one_line(model, call, says):
    if says is None:
        assert call(ramp(4, 4), model).shape == (30, 5, 3)
        return
    with pytest.raises(LIIFError, match=says) as error:
        call(ramp(4, 4), model)
    assert "\n" not in str(error.value)


def test_network_that_overflows_is_reported(model):
    net = liif_basicsr.load(model)
    with torch.no_grad():
        net.decoder.layers[-1].bias.fill_(torch.inf)
    with pytest.raises(LIIFError, match="not finite"):
        liif_basicsr.rotate(ramp(4, 4), 30, model=net)
