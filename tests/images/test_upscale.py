"""`upscale` equals the network's `render`, and keeps the type of the image."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_files import SRGB, exif_of, image, model, ramp
from PIL import ImageOps

import liif_basicsr
from liif_basicsr.errors import LIIFError
from liif_basicsr.images.engine import includes
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.reading import ORIENTATIONS, from_image
from liif_basicsr.images.size import OutputSize
from liif_basicsr.images.upscale import STRIP_COLS, STRIP_ROWS, Upscaler

__all__ = ["model"]


@pytest.fixture(scope="module")
def upscaler(model):
    return Upscaler(model, "cpu", "float32")


def test_upscale_equals_render(model):
    net, pixels = liif_basicsr.load(model), ramp(9, 14)
    lq = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    expected = net.render(lq, (33, 52))[0].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()
    output = liif_basicsr.upscale(pixels, scale=3.7, model=net, precision="float32")
    assert output.dtype == np.uint8
    assert np.abs(output - expected).max() <= 1 and (output == expected).mean() > 0.99


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (6, 7, 2), (6, 7, 3), (6, 7, 4)])
def test_arrays_keep_their_kind(model, shape, dtype):
    pixels = ramp(*shape, dtype=dtype) if len(shape) == 3 else ramp(*shape, 1, dtype)[..., 0]
    output = liif_basicsr.upscale(pixels, size=(13, 20), model=model)
    assert output.dtype == dtype and output.shape == (13, 20, *shape[2:])


@pytest.mark.parametrize("mode, becomes", [
    ("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("I;16", "I;16"), ("1", "L"), ("P", "RGB"),
    ("CMYK", "RGB"), ("YCbCr", "RGB"), ("RGBX", "RGB"),
])  # fmt: skip
def test_images_keep_their_kind(model, mode, becomes):
    output = liif_basicsr.upscale(image(mode), scale=2, model=model)
    assert (output.mode, output.size) == (becomes, (34, 24))


def test_palette_with_a_transparent_color_becomes_rgba(model):
    loaded = image("P")
    loaded.info["transparency"] = loaded.getpixel((0, 0))
    output = np.asarray(liif_basicsr.upscale(loaded, scale=2, model=model))
    assert output.shape == (24, 34, 4) and output[0, 0, 3] < 128 < output[-1, -1, 3]


def test_16_bit_output_has_more_levels_than_8_bits(model):
    pixels = ramp(16, 16, 3, np.uint16) // 200 + 30000
    output = liif_basicsr.upscale(pixels, scale=4, model=model)
    assert len(np.unique(output)) > 300


def test_16_bit_output_rounds_to_8_bit_output(model, upscaler):
    deep = ramp(11, 8, 3).astype(np.uint16) * 257
    fine = next(upscaler.strips(LoadedImage(deep), (20, 30))) / 257
    assert np.abs(fine - next(upscaler.strips(LoadedImage(ramp(11, 8, 3)), (20, 30)))).max() <= 0.51


def test_gray_equals_the_mean_of_its_rgb_output(upscaler):
    gray = ramp(10, 9, 1, np.uint16)
    colors = next(upscaler.strips(LoadedImage(gray.repeat(3, axis=2)), (17, 25)))
    assert np.abs(next(upscaler.strips(LoadedImage(gray), (17, 25)))[..., 0] - colors.mean(-1)).max() <= 1


def test_alpha_and_colors_are_independent(upscaler):
    pixels = ramp(10, 9, 4)
    whole = next(upscaler.strips(LoadedImage(pixels), (17, 25)))
    assert np.array_equal(whole[..., :3], next(upscaler.strips(LoadedImage(pixels[..., :3]), (17, 25))))
    assert np.array_equal(whole[..., 3:], next(upscaler.strips(LoadedImage(pixels[..., 3:]), (17, 25))))


@pytest.mark.parametrize("channels", [2, 4])
def test_hidden_colors_leave_no_fringe(upscaler, channels):
    bright = ramp(20, 20, channels) // 8 + 200
    bright[..., -1] = 255
    black = bright.copy()
    black[5:15, :9] = 0
    outputs = [next(upscaler.strips(LoadedImage(pixels), (50, 50))).astype(int) for pixels in (black, bright)]
    assert outputs[0][..., -1].min() < 50
    assert np.abs(outputs[0] - outputs[1])[..., :-1].max() < 12


@pytest.mark.parametrize("value", [0, 77, 255])
def test_constant_alpha_is_unchanged(upscaler, value):
    pixels = ramp(5, 6, 2)
    pixels[..., 1] = value
    assert (next(upscaler.strips(LoadedImage(pixels), (12, 13)))[..., 1] == value).all()


def test_strips_join_without_a_seam(model, upscaler):
    pixels, size = ramp(20, 150), (STRIP_ROWS + 40, STRIP_COLS + 30)
    whole = upscaler.net.render(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255, size)[0]
    strips = list(upscaler.strips(LoadedImage(pixels), size))
    assert [len(strip) for strip in strips] == [STRIP_ROWS, 40]
    assert np.abs(np.concatenate(strips) - whole.clamp(0, 1).mul(255).permute(1, 2, 0).numpy()).max() <= 0.51


def test_progress_counts_all_pixels(upscaler):
    made = []
    list(upscaler.strips(LoadedImage(ramp(3, 20)), (STRIP_ROWS + 3, STRIP_COLS + 5), made.append))
    assert sum(made) == (STRIP_ROWS + 3) * (STRIP_COLS + 5) and len(made) == 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_equals_pillows_exif_transpose(model, orientation):
    loaded = image("RGB")
    loaded.info["exif"] = exif_of("a", orientation).tobytes()
    upright = ImageOps.exif_transpose(loaded)
    output = liif_basicsr.upscale(loaded, scale=2, model=model)
    assert np.array_equal(np.asarray(output), np.asarray(liif_basicsr.upscale(upright, scale=2, model=model)))
    assert 0x0112 not in output.getexif()
    assert set(ORIENTATIONS) == set(range(2, 9))


@pytest.mark.parametrize("mode, says", [("L", "not kept, because it does"), ("RGB", "not kept"), ("CMYK", "damaged")])
def test_profile_for_other_channels_is_dropped(mode, says):
    loaded = image(mode)
    loaded.info["icc_profile"] = SRGB if mode == "L" else SRGB[:16] + b"GRAY" + SRGB[20:]
    with pytest.warns(UserWarning, match=f"the color profile is {says}"):
        assert from_image(loaded).icc is None


@given(h=st.integers(1, 500), w=st.integers(1, 500), edge=st.integers(500, 5000))
def test_long_edge_is_exact_and_keeps_the_aspect_ratio(h, w, edge):
    size = OutputSize(long_edge=edge).size_of((h, w))
    assert max(size) == edge
    assert abs(size[0] * w - size[1] * h) <= max(h, w)


@pytest.mark.parametrize("options, size", [
    ({}, (20, 40)), ({"scale": "3.7"}, (37, 74)), ({"scale": "x3"}, (30, 60)), ({"scale": "3X"}, (30, 60)),
    ({"scale": "2x3.5"}, (20, 70)), ({"scale": "1"}, (10, 20)),
    ({"size": "41X30"}, (30, 41)), ({"size": "41 x 30"}, (30, 41)),
    ({"long_edge": "100"}, (50, 100)), ({"width": "50"}, (25, 50)), ({"height": "25"}, (25, 50)),
    ({"width": "50", "height": "30"}, (30, 50)),
])  # fmt: skip
def test_sizes_of_the_command_line(options, size):
    assert OutputSize.parse(**options).size_of((10, 20)) == size


@pytest.mark.parametrize("options", [
    {"scale": "0"}, {"scale": "-2"}, {"scale": "nan"}, {"scale": "inf"}, {"scale": "x"}, {"scale": "2xx"},
    {"scale": "2x3x4"}, {"scale": "x2x"}, {"scale": ""}, {"scale": "1e9"}, {"size": "100"},
    {"size": "0x10"}, {"size": "1.5x3"},
    {"long_edge": "0"}, {"long_edge": "ten"}, {"scale": "2", "size": "3x3"}, {"width": "9", "long_edge": "30"},
    {"scale": "0.5"}, {"size": "100x5"}, {"long_edge": "19"}, {"width": "-3"}, {"height": "9"},
])  # fmt: skip
def test_invalid_sizes(options):
    with pytest.raises(LIIFError) as error:
        OutputSize.parse(**options).size_of((10, 20))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("label, options", [
    ("x2", {}), ("x3.7", {"scale": "3.7"}), ("x2x3", {"scale": "2x3"}), ("50x30", {"size": "50x30"}),
    ("1600", {"long_edge": "1600"}), ("w50", {"width": "50"}), ("h50", {"height": "50"}),
])  # fmt: skip
def test_label_of_a_size(label, options):
    assert OutputSize.parse(**options).label == label


@pytest.mark.parametrize("scale", [np.float32(2), np.int64(2), 2, (np.float64(2), 2), np.array([2, 2]), [2, 2.0],
                                   np.array(2.0), torch.tensor(2), torch.tensor([2.0, 2.0]),
                                   (torch.tensor(2), torch.tensor(2.0))])
def test_numpy_and_torch_scales(scale):
    assert OutputSize.of(scale).size_of((3, 4)) == (6, 8)


@pytest.mark.parametrize("size", [torch.tensor([6, 9]), np.array([6, 9]), (np.int32(6), np.int64(9)), [6, 9],
                                  (torch.tensor(6), torch.tensor(9))])
def test_numpy_and_torch_sizes(size):
    assert OutputSize.of(size=size).size_of((3, 4)) == (6, 9)


@pytest.mark.parametrize("loaded", [
    np.full((4, 4, 3), 2, np.float32), np.full((4, 4), np.inf), np.zeros((4, 4), np.int32), np.zeros((4,), np.uint8),
    np.zeros((4, 4, 5), np.uint8), "photo.jpg",
    np.zeros((0, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.uint8), image("F"), image("I"), image("LAB"),
], ids=lambda value: str(getattr(value, "shape", value))[:20])  # fmt: skip
def test_unsupported_images_are_refused(model, loaded):
    with pytest.raises(LIIFError):
        liif_basicsr.upscale(loaded, scale=2, model=model)


@pytest.mark.parametrize("wrong, says", [
    ({"device": "cuda:99"}, "device 'cuda:99'"), ({"device": "gpu"}, "device 'gpu'"),
    ({"model": torch.nn.Identity()}, "Identity"), ({"precision": "float23"}, "float23"),
    ({"model": "liif-fsat"}, "did you mean 'liif-fast'"),
    ({"scale": 1e8}, "scale"), ({"model": None}, "model: expected a name or a file, got NoneType"),
    ({"strength": "0.5"}, "strength: expected a number from 0 to 1, got '0.5'"), ({"strength": None}, "got None"),
    ({"scale": None, "size": (200_000, 200_000)}, "fit into memory"), ({"scale": (2, 3, 4)}, "scale"),
    ({"size": (3, 4)}, "only one"), ({"size": 5, "scale": None}, "size 5: expected"),
    ({"scale": None, "size": (3.5, 4)}, "size"),
])  # fmt: skip
def test_invalid_arguments_are_named(model, wrong, says):
    with pytest.raises(LIIFError, match=says):
        liif_basicsr.upscale(ramp(4, 4), **{"scale": 2, "model": model, **wrong})


def test_precision_is_float32_for_sixteen_bits_unless_asked_for(model):
    assert Upscaler(model, "cpu").precision_for(ramp(2, 2, 3, np.uint16)) == "float32"
    assert Upscaler(model, "cpu", "bfloat16").precision_for(ramp(2, 2, 3, np.uint16)) == "bfloat16"


def test_bfloat16_is_within_a_few_steps_of_float32(model):
    outputs = [liif_basicsr.upscale(ramp(20, 20), scale=3, model=model, precision=p) for p in ("float32", "bfloat16")]
    assert not np.array_equal(*outputs)
    assert np.abs(outputs[0].astype(int) - outputs[1]).max() <= 3


def last_bias(net):
    return net.decoder.layers[-1].bias


def encoder_bias(net):
    return next(parameter for name, parameter in net.encoder.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
@pytest.mark.parametrize("parameter", [last_bias, encoder_bias])
def test_output_that_is_not_finite_is_refused_in_one_line(model, parameter, value):
    net = liif_basicsr.load(model)
    with torch.no_grad():
        parameter(net).fill_(value)
    for precision, says in {"bfloat16": "in bfloat16; choose precision float32", "float32": "use another"}.items():
        with pytest.raises(LIIFError, match=f"output is not finite.*{says}") as error:
            liif_basicsr.upscale(ramp(4, 4), scale=2, model=net, precision=precision)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("asked, own, expected", [
    ("cuda", "cuda:0", True), ("cuda", "cuda:1", True), ("cuda:1", "cuda:1", True), ("cpu", "cpu", True),
    ("cpu:0", "cpu", True), ("cuda:0", "cuda:1", False), ("cuda", "cpu", False), ("cpu", "cuda:0", False),
])  # fmt: skip
def test_device_without_index_includes_all_of_its_type(asked, own, expected):
    assert includes(torch.device(asked), torch.device(own)) is expected


def test_network_on_another_device_is_refused(model):
    with pytest.raises(LIIFError, match=r"device meta: the network is on cpu; call net.to\('meta'\) first"):
        Upscaler(liif_basicsr.load(model), "meta")
