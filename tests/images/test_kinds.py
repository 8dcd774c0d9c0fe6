"""The result has the type of the argument: Pillow image, array or tensor. For a path it is a Pillow image."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from image_files import SRGB, image, model, ramp
from PIL import Image

import liif_basicsr
from liif_basicsr.errors import LIIFError

__all__ = ["model"]


def test_path_becomes_pillow_image(model, tmp_path):
    image("RGB").save(tmp_path / "a.png")
    expected = np.asarray(liif_basicsr.upscale(image("RGB"), model=model))
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        output = liif_basicsr.upscale(path, model=model)
        assert isinstance(output, Image.Image) and np.array_equal(np.asarray(output), expected)
    assert liif_basicsr.rotate(tmp_path / "a.png", 90, model=model).size == (12, 17)


def test_default_scale_is_two(model):
    assert liif_basicsr.upscale(ramp(5, 6), model=model).shape == (10, 12, 3)


def test_image_keeps_resolution_and_xmp(model):
    source = image("RGB")
    source.info.update(dpi=(300, 200), xmp=b'<x tiff:Orientation="6"/>', icc_profile=SRGB)
    info = liif_basicsr.upscale(source, model=model).info
    assert info["dpi"] == (200, 300) and info["xmp"] == b'<x tiff:Orientation="1"/>' and info["icc_profile"] == SRGB


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (6, 7, 2), (6, 7, 3), (6, 7, 4)])
def test_float_arrays(model, dtype, shape):
    channels = shape[2] if len(shape) > 2 else 1
    deep = ramp(6, 7, channels, np.uint16)
    output = liif_basicsr.upscale((deep / 65535).astype(dtype).reshape(shape), model=model)
    expected = liif_basicsr.upscale(deep, model=model).reshape(output.shape) / 65535
    assert output.dtype == dtype and output.shape == (12, 14, *shape[2:])
    assert np.abs(output - expected).max() < (2e-3 if dtype == np.float16 else 2e-5)


def test_float_output_is_in_range(model):
    output = liif_basicsr.upscale(np.eye(16, dtype=np.float32), scale=3, model=model)
    assert output.min() >= 0 and output.max() <= 1


def test_float_fill(model):
    assert liif_basicsr.rotate(np.zeros((9, 9), np.float32), 45, fill=1.0, model=model)[0, 0] == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.bfloat16])
def test_tensors(model, dtype):
    pixels = ramp(6, 7)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    tensor = tensor if dtype == torch.uint8 else (tensor / 255).to(dtype)
    output = liif_basicsr.upscale(tensor, model=model)
    assert output.dtype == dtype and output.shape == (3, 12, 14)
    expected = liif_basicsr.upscale(pixels, model=model, precision="float32").astype(float)
    exact = output.double() * (1 if dtype == torch.uint8 else 255)
    assert np.abs(exact.permute(1, 2, 0).numpy() - expected).max() < 2.1


def test_batch_of_tensors(model):
    batch = torch.rand(2, 3, 6, 7, requires_grad=True)
    output = liif_basicsr.upscale(batch, size=(9, 11), model=model)
    assert output.shape == (2, 3, 9, 11) and not output.requires_grad
    assert torch.equal(output[1], liif_basicsr.upscale(batch[1], size=(9, 11), model=model))


def test_bgr(model, tmp_path):
    image("RGB").save(tmp_path / "a.png")
    output = liif_basicsr.upscale(cv2.imread(str(tmp_path / "a.png")), model=model, bgr=True)
    assert np.array_equal(output[..., ::-1], np.asarray(liif_basicsr.upscale(image("RGB"), model=model)))
    pixels = ramp(6, 7, 4)
    output = liif_basicsr.rotate(pixels[..., [2, 1, 0, 3]], 20, model=model, bgr=True)
    assert np.array_equal(output[..., [2, 1, 0, 3]], liif_basicsr.rotate(pixels, 20, model=model))
    with pytest.raises(LIIFError, match="bgr: applies only to arrays"):
        liif_basicsr.upscale(image("RGB"), model=model, bgr=True)


CLOSED = image("RGB")
CLOSED.close()


@pytest.mark.parametrize("wrong, says", [
    (np.full((4, 4), 200.0), "in \\[0, 1\\], got values from 200"), (np.full((4, 4), -0.1), "in \\[0, 1\\]"),
    (np.full((4, 4), np.inf), "in \\[0, 1\\]"), (np.zeros((4, 4), np.int64), "convert it"),
    ([[1, 2]], "expected a path"), (None, "got NoneType; cv2.imread returns None"),
    (np.zeros((4, 4), np.int16), "has int16 values, whose range is not known"),
    (torch.zeros(4, 4), "expected a tensor"), (torch.zeros(5, 4, 4), "has 5 bands, but the model takes 3"),
    (torch.zeros(3, 4, 4, dtype=torch.int64), "convert it"), (torch.full((3, 4, 4), 7.0), "in \\[0, 1\\]"),
    ("none.png", "none.png: cannot be read"), ("a\0.png", "a\0.png: cannot be read: .*embedded null"),
    ("a\ud800.png", "cannot be read: "), (Image.new("RGB", (0, 5)), "image: has no pixels: its size is 0x5"),
    (CLOSED, r"image: cannot be read \(Operation on closed image\); open its file again"),
    (torch.zeros(3, 4, 4).to_sparse(), "image: cannot convert tensor torch.float32 .* pass a dense tensor of uint8 or"),
    (torch.zeros(3, 4, 4, dtype=torch.float8_e4m3fn), "image: cannot convert tensor torch.float8_e4m3fn"),
])  # fmt: skip
def test_unsupported_images(model, wrong, says):
    with pytest.raises(LIIFError, match=says) as error:
        liif_basicsr.upscale(wrong, model=model)
    assert "\n" not in str(error.value)


def test_deep_color_file_is_refused_before_work(model, tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), ramp(6, 7, 3, np.uint16))
    with pytest.raises(LIIFError, match="deep.png: has several 16-bit channels"):
        liif_basicsr.upscale(tmp_path / "deep.png", model=model)


@pytest.mark.parametrize("size", [(40, 30), (80, 60)])
def test_transposed_size_is_refused(model, size):
    with pytest.raises(LIIFError, match=r"aspect ratio of the transposed image; pass \(height, width\)"):
        liif_basicsr.upscale(ramp(15, 20), size=size, model=model)
    assert liif_basicsr.upscale(ramp(15, 20), size=size[::-1], model=model).shape[:2] == size[::-1]


def test_almost_square_image_may_have_any_size(model):
    for size in ((40, 41), (41, 40), (40, 40), (60, 50)):
        assert liif_basicsr.upscale(ramp(20, 20), size=size, model=model).shape[:2] == size


@pytest.mark.parametrize("options", [{"method": "nearest"}, {"model": "liif-fast"}], ids=str)
@pytest.mark.parametrize("wrong", [200.0, -0.1, np.inf, np.nan])
def test_opacity_out_of_range(options, wrong):
    says = rf"^image: expected opacity in \[0, 1\] in the last band, got {wrong:g} to {wrong:g}; scale or clip it, or"
    with pytest.raises(LIIFError, match=says):
        liif_basicsr.upscale(np.full((4, 4, 4), [9, 9, 9, wrong]), value_range=(0, 255), **options)


@pytest.mark.parametrize("options", [{"method": "bicubic"}, {"model": "liif-fast"}], ids=str)
def test_value_range_beyond_the_pixel_type(options):
    for dtype in (np.uint8, np.uint16, np.int16):
        low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
        stripes = np.tile(np.array([low, high], dtype).repeat(4), (6, 3))
        output = liif_basicsr.upscale(stripes, 3, value_range=(low - high, 2 * high), **options).reshape(18, 6, 12)
        assert ((output > (low + high) / 2) == np.array([[False], [True]] * 3))[..., 2:10].all()


@pytest.mark.parametrize("scale", [1, 2.5, 3])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "float32", "float64"])
def test_nearest_repeats_the_exact_values(scale, dtype):
    pixels = (np.random.default_rng(0).random((6, 8, 3)) * (1e6 if dtype == "float64" else 200)).astype(dtype)
    output = liif_basicsr.upscale(pixels, scale, method="nearest", value_range=(-1, 2e6))
    rows, cols = (((np.arange(round(n * scale)) + 0.5) / scale).astype(int) for n in (6, 8))
    assert output.dtype == dtype and np.array_equal(output, pixels[np.ix_(rows, cols)])


@pytest.mark.parametrize("method, resample", [("nearest", 0), ("bicubic", 3)])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_classical_methods_equal_pillow(method, resample, mode):
    output = np.asarray(liif_basicsr.upscale(image(mode), 3, method=method))
    source = image(mode)
    expected = np.asarray(source.resize((51, 36), resample))
    assert np.abs(output.astype(int) - expected).max() <= (6 if mode == "RGBA" else 1)  # Pillow weights colors by alpha
    with pytest.raises(LIIFError, match="did you mean 'nearest'"):
        liif_basicsr.upscale(image(mode), 3, method="nearst")
    with pytest.raises(LIIFError, match=f"model: has no effect with method {method}; remove one of"):
        liif_basicsr.upscale(image(mode), 3, method=method, model="liif-fast")
