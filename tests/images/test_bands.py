"""Networks for N bands: ranges of values, missing pixels, and images whose bands do not fit the network."""
from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from image_files import ramp

import liif_basicsr
from liif_basicsr.__main__ import main
from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.reading import read
from liif_basicsr.images.upscale import Upscaler
from liif_basicsr.images.values import is_within


def network(num_in_ch: int, num_out_ch: int | None = None, identity: bool = False):
    """A tiny network. With `identity` it returns its input at scale 1."""
    torch.manual_seed(0)
    block = {
        "type": "LIIF", "encoder": {"type": "EDSR", "num_feat": 4, "num_block": 1}, "hidden_dims": [8],
        "num_in_ch": num_in_ch, "num_out_ch": num_out_ch or num_in_ch,
        "input_skip": "bilinear" if num_out_ch in (None, num_in_ch) else None,
    }  # fmt: skip
    net = build_network(block).eval()
    if identity:
        torch.nn.init.zeros_(net.decoder.layers[-1].weight)
        torch.nn.init.zeros_(net.decoder.layers[-1].bias)
    return net, block


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a checkpoint of the identity network for a number of bands."""
    folder = tmp_path_factory.mktemp("networks")

    def save(bands: int, suffix: str = ".pth", **entries: object):
        net, block = network(bands, identity=True)
        path = folder / f"identity{bands}{len(entries)}{suffix}"
        checkpoint.save(path, {"params": net.state_dict(), "network_g": block, **entries})
        return str(path)

    return save


def command(*words: object) -> int:
    return main([*map(str, words), "--device", "cpu"])


@example(bands=1, dtype="float32", low=250.0, spread=0.3, seed=0)  # 250.3 is larger in float32
@example(bands=1, dtype="float64", low=250.0, spread=0.3, seed=0)
@given(
    bands=st.sampled_from([1, 2, 4, 5]), dtype=st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]),
    low=st.sampled_from([-1000.0, 0.0, 250.0]), spread=st.sampled_from([1.0, 0.3, 4095.0]), seed=st.integers(0, 99),
)  # fmt: skip
def test_identity_keeps_values_of_any_range(bands, dtype, low, spread, seed):
    if np.dtype(dtype).kind != "f":
        low, spread = (-1000.0, 3000.0) if dtype == "int16" else (0.0, 255.0)
    noise = np.random.default_rng(seed).random((5, 7, bands))
    noise[0, :2] = [[0], [1]]
    pixels = (low + spread * noise).astype(dtype)
    net, _ = network(bands, identity=True)
    output = liif_basicsr.upscale(pixels, 1, model=net, value_range=(low, low + spread), precision="float32")
    assert output.dtype == dtype and output.shape == pixels.shape
    tolerance = 0 if np.dtype(dtype).kind in "ui" else 3e-6 * spread + 1e-6 * abs(low)
    assert np.abs(output.astype(float) - pixels.astype(float)).max() <= tolerance
    assert is_within(output, (low, low + spread))  # it can be upscaled again


@given(dtype=st.sampled_from(["float16", "float32", "float64"]), low=st.floats(-1e4, 1e4), spread=st.floats(1, 1e4))
def test_ends_of_a_range_may_be_rounded(dtype, low, spread):
    ends = np.array([low, low + spread]).astype(dtype)
    assert is_within(ends, (low, low + spread))
    coarsest = "float16" if dtype == "float16" else "float32"
    step = np.maximum(3e-6 * spread, 2 * np.spacing(np.abs(ends.astype(coarsest))))
    for beyond in (ends - step)[:1], (ends + step)[1:]:
        assert not is_within(beyond.astype(dtype), (low, low + spread))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_range_includes_values_that_are_not_finite(value):
    for value_range in (0, 1), (-np.inf, np.inf):
        assert not is_within(np.array([0.5, value]), value_range)


@pytest.mark.parametrize("dtype, planar", [("uint16", "contig"), ("float32", "separate"), ("int16", "contig")])
def test_tiff_survives_the_identity(files, tmp_path, capsys, dtype, planar):
    rng = np.random.default_rng(0)
    pixels = rng.uniform(280, 310, (6, 9, 4)).astype(dtype)
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    geo = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 500.0, 900.0, 0.0), True)]
    tifffile.imwrite(
        tmp_path / "in.tif", stored, photometric="minisblack", planarconfig=planar, description="kelvin",
        resolution=(300, 300), resolutionunit="inch", extratags=geo, metadata=None,
    )  # fmt: skip
    model = files(4, value_range=[280.0, 310.0])
    assert command("upscale", tmp_path / "in.tif", tmp_path / "out.tif", "--scale", 1, "--model", model) == 0
    before, after = read(tmp_path / "in.tif"), read(tmp_path / "out.tif")
    assert after.dtype == dtype and after.shape == pixels.shape and capsys.readouterr().err == ""
    assert np.abs(after.pixels.astype(float) - pixels.astype(float)).max() <= (1e-3 if dtype == "float32" else 0)
    assert (after.exif, after.dpi, after.tags, after.has_rgb) == (before.exif, before.dpi, before.tags, False)


@pytest.mark.parametrize("suffix", [".npy", ".exr", ".tif"])
def test_files_of_floats(files, tmp_path, suffix):
    if suffix == ".exr":
        pytest.importorskip("OpenEXR")
    pixels = np.random.default_rng(0).normal(0, 1, (6, 9, 2)).astype(np.float32)
    np.save(tmp_path / "in.npy", pixels)
    words = ["--model", files(2), "--value-range", "-9", "9", "--scale", "1"]
    assert command("upscale", tmp_path / "in.npy", tmp_path / f"a{suffix}", *words) == 0
    assert command("upscale", tmp_path / f"a{suffix}", tmp_path / f"b{suffix}", *words) == 0
    again = read(tmp_path / f"b{suffix}").pixels
    assert again.dtype == np.float32 and np.abs(again - pixels).max() < 1e-4


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_range_of_the_checkpoint(files, suffix):
    net = liif_basicsr.load(files(1, suffix, value_range=[-2, 6]))
    assert net.value_range == (-2, 6)
    with pytest.raises(LIIFError, match=r"^image: expected values in \[-2, 6\], got values from 7 to 7; pass the"):
        liif_basicsr.upscale(np.full((4, 4), 7.0), 1, model=net)
    assert liif_basicsr.upscale(np.full((4, 4), 7.0), 1, model=net, value_range=(0, 8)) == pytest.approx(7)
    assert liif_basicsr.rotate(np.full((4, 4), -1.0), 90, model=net) == pytest.approx(-1)


@pytest.mark.parametrize("wrong", [[1], "x", [2, 1], [0, float("nan")], [0, 1, 2]])
def test_invalid_range(files, tmp_path, wrong):
    with pytest.raises(LIIFError, match="^value_range: expected two (finite )?numbers"):
        liif_basicsr.upscale(ramp(4, 4), model=files(3), value_range=wrong)
    with pytest.raises(LIIFError, match="damaged checkpoint: value_range: expected two (finite )?numbers"):
        liif_basicsr.load(files(3, value_range=wrong, number=1))


def test_unknown_range(files, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", np.linspace(3, 9, 20, dtype=np.float32).reshape(4, 5))
    for words in (["upscale"], ["warp", "--rotate", "5"]):
        assert command(*words, tmp_path / "a.tif", tmp_path / "b.tif", "--model", files(1)) == 1
        err = capsys.readouterr().err
        assert "a.tif: has float32 values, whose range is not known; pass the range of the training data with " in err
        assert "--value-range LOW HIGH" in err and "3 to 9" in err and err.count("\n") == 1
    assert not (tmp_path / "b.tif").exists()
    for method in ("bicubic", "nearest"):
        assert main(["upscale", str(tmp_path / "a.tif"), str(tmp_path / f"{method}.npy"), "--method", method]) == 0
        assert read(tmp_path / f"{method}.npy").pixels.mean() == pytest.approx(6, abs=0.01)


def test_image_of_more_bands_than_the_model(files, tmp_path, capsys):
    pixels = ramp(6, 8, 5, np.uint16)
    np.save(tmp_path / "a.npy", pixels)
    words = [tmp_path / "a.npy", tmp_path / "b.npy", "--scale", 1, "--model", files(3)]
    assert command("upscale", *words) == 1
    says = ("has 5 bands, but the model takes 3; choose bands with --bands 1,2,3, in Python image[..., [0, 1, 2]], or "
            "use a network with num_in_ch: 5\n")  # fmt: skip
    err = capsys.readouterr().err
    assert err.endswith(says) and err.count("\n") == 1
    assert command("upscale", *words, "--bands", "5,2,1") == 0
    assert np.array_equal(read(tmp_path / "b.npy").pixels, pixels[..., [4, 1, 0]])
    assert command("upscale", *words, "--bands", "4,5,6", "--overwrite") == 1
    assert "has 5 bands, but --bands asks for band 6" in capsys.readouterr().err
    for text in ("0,1", "1,1", "a", "1,,2", "-1"):
        assert command("upscale", *words, f"--bands={text}") == 2
        assert f"--bands {text}: expected distinct numbers, counted from 1" in capsys.readouterr().err


@pytest.mark.parametrize("shape, says", [
    ((8, 8, 2), "has 2 bands, but the model takes 4; use a network with num_in_ch: 2"),
    ((8, 8), "has 1 band, but the model takes 4"),
    ((4, 8, 9), r"its shape \(4, 8, 9\) is \(bands, height, width\), transpose it"),
])  # fmt: skip
def test_image_of_other_bands(shape, says):
    with pytest.raises(LIIFError, match=says):
        liif_basicsr.upscale(np.zeros(shape, np.float32), model=network(4)[0])


def test_fourth_band_is_not_alpha_for_a_network_of_four(files):
    pixels = ramp(6, 7, 4)
    pixels[..., 3] = 0
    assert np.array_equal(liif_basicsr.upscale(pixels, 1, model=files(4)), pixels)
    tensor = torch.from_numpy(ramp(6, 7, 4)).permute(2, 0, 1)
    assert torch.equal(liif_basicsr.upscale(tensor, 1, model=files(4)), tensor)


def test_output_of_other_bands(tmp_path):
    net, _ = network(4, 2)
    assert liif_basicsr.upscale(ramp(5, 6, 4), 2, model=net).shape == (10, 12, 2)
    assert liif_basicsr.upscale(torch.rand(2, 4, 5, 6), 2, model=net).shape == (2, 2, 10, 12)
    assert liif_basicsr.upscale(ramp(5, 6, 4), 2, model=network(4, 1)[0]).shape == (10, 12, 1)
    assert liif_basicsr.warp(ramp(5, 6, 4), np.eye(3), (5, 6), model=net).shape == (5, 6, 2)
    assert Upscaler(net).output_like(LoadedImage(ramp(5, 6, 4))).has_alpha is False


def test_every_function_with_five_bands():
    net, image = network(5)[0], ramp(9, 11, 5, np.uint16) / np.float32(65535)
    y, x = np.mgrid[0:9, 0:11].astype(np.float32)
    for output in (
        liif_basicsr.remap(image, x, y, model=net, precision="float32"),
        liif_basicsr.rotate(image, 0, model=net, precision="float32"),
        liif_basicsr.upscale(image, 1, model=net, self_ensemble=False, precision="float32"),
    ):
        assert output.shape == image.shape and np.abs(output - image).max() < 0.4
    ensemble = liif_basicsr.upscale(image, 2, model=net, self_ensemble=True, tile_wrap="x")
    assert ensemble.shape == (18, 22, 5)
    assert liif_basicsr.upscale(image, 2, method="bicubic").shape == (18, 22, 5)


def test_alpha_of_a_gray_network(files):
    pixels = ramp(6, 7, 2)
    assert np.array_equal(liif_basicsr.upscale(pixels, 1, model=files(1)), pixels)
    assert liif_basicsr.rotate(pixels, 30, model=files(1)).shape[2] == 2


@pytest.mark.parametrize("scale", [1, 2, 2.5])
@pytest.mark.parametrize("options", [{}, {"self_ensemble": True}, {"tile_wrap": "xy"}, {"method": "bicubic"}], ids=str)
def test_missing_pixels_stay_missing(scale, options, monkeypatch):
    monkeypatch.setattr("liif_basicsr.images.upscale.STRIP_ROWS", 4)
    image = np.random.default_rng(0).random((6, 8, 3)).astype(np.float32)
    image[2:4, 5, 0] = image[0, 0] = np.nan
    options = options if "method" in options else {"model": network(3)[0], "precision": "float32", **options}
    output = liif_basicsr.upscale(image, scale, **options)
    rows = ((np.arange(output.shape[0]) + 0.5) * 6 / output.shape[0]).astype(int)
    cols = ((np.arange(output.shape[1]) + 0.5) * 8 / output.shape[1]).astype(int)
    assert np.array_equal(np.isnan(output), np.isnan(image)[np.ix_(rows, cols)])


def test_missing_pixels_affect_the_receptive_field_only():
    net, image = network(1)[0], np.random.default_rng(0).random((40, 40, 1)).astype(np.float32)
    holed = image.copy()
    holed[20, 20] = np.nan
    whole, other = (liif_basicsr.upscale(each, 2, model=net, precision="float32") for each in (image, holed))
    reach = net.receptive_radius + 2
    far = np.ones((80, 80), bool)
    far[2 * (20 - reach) : 2 * (21 + reach), 2 * (20 - reach) : 2 * (21 + reach)] = False
    assert np.abs(whole - other)[far].max() < 1e-6 and np.isnan(other).sum() == 4


def test_missing_pixels_of_a_warp():
    image = np.full((6, 8, 1), 0.5, np.float32)
    image[1, 2] = np.nan
    output = liif_basicsr.rotate(image, 90, model=network(1)[0], precision="float32")
    assert np.array_equal(np.isnan(output), np.isnan(np.rot90(image)))
    assert np.isnan(liif_basicsr.rotate(image, 45, fill=np.nan, model=network(1)[0])[0, 0, 0])
    assert np.isnan(liif_basicsr.upscale(np.full((3, 3), np.nan, np.float32), model=network(1)[0])).all()


def test_nodata_of_a_file(files, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 100, (5, 6, 2)).astype(np.int16)
    pixels[1, 1] = -9999
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig",
        extratags=[(42113, 2, 0, "-9999", True)],
    )  # fmt: skip
    words = [tmp_path / "a.tif", tmp_path / "b.tif", "--model", files(2), "--value-range", 0, 100, "--overwrite"]
    assert command("upscale", *words, "--scale", 1) == 0
    again = read(tmp_path / "b.tif")
    assert np.array_equal(again.pixels, pixels) and again.nodata == -9999
    assert command("warp", *words, "--rotate", 30, "--fill", -9999) == 0
    assert (read(tmp_path / "b.tif").pixels[0, 0] == -9999).all()


@pytest.mark.parametrize("dtype, nodata, held", [
    ("uint8", "0.5", False), ("uint8", "-9999", False), ("uint16", "65536", False), ("int16", "-inf", False),
    ("float32", "-9e99", False), ("uint8", "241.0", True), ("float32", "-3.40282346638529e+38", True),
    ("float32", "0.1", True), ("float32", "-inf", True),
])  # fmt: skip
def test_nodata_that_the_pixel_type_lacks_is_ignored(files, tmp_path, capsys, dtype, nodata, held):
    pixels = np.full((9, 9), 80, dtype)
    pixels[4, 4] = float(nodata) if held else 0 if nodata == "0.5" else 241  # -9999 % 256
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(42113, 2, 0, nodata, True)])
    words = [tmp_path / "a.tif", tmp_path / "b.tif", "--model", files(1), "--value-range", 0, 255, "--overwrite"]
    assert command("upscale", *words, "--scale", 3) == 0
    output = read(tmp_path / "b.tif").pixels[..., 0].astype(float)
    assert (np.isclose(output, 80).sum() == 27**2 - 9) == held  # pixels around a missing one do not change
    refused = not held and nodata != "0.5"
    assert command("warp", *words, "--rotate", 30, f"--fill={nodata}") == refused
    assert ("a.tif: fill: expected a number from 0 to 255" in capsys.readouterr().err) == refused


@pytest.mark.parametrize("fill, says", [
    (0, "expected a number from 250 to 300, or nan"), (np.nan, None), (260, None), ("x", "expected a number"),
])  # fmt: skip
def test_fill_in_the_unit_of_the_data(fill, says):
    image, options = np.full((5, 5, 1), 270, np.float32), {"model": network(1)[0], "value_range": (250, 300)}
    if says:
        with pytest.raises(LIIFError, match=f"fill: {says}"):
            liif_basicsr.rotate(image, 45, fill=fill, **options)
    else:
        corner = liif_basicsr.rotate(image, 45, fill=fill, **options)[0, 0, 0]
        assert np.isnan(corner) if np.isnan(fill) else corner == pytest.approx(fill)


def test_map_position_of_a_warp_is_not_kept(files, tmp_path, capsys):
    tifffile.imwrite(
        tmp_path / "a.tif", ramp(6, 7, 1, np.uint16)[..., 0], extratags=[(33550, 12, 3, (1.0, 1.0, 0.0), True)]
    )
    words = ["--rotate", 20, "--model", files(1)]
    assert command("warp", tmp_path / "a.tif", tmp_path / "b.tif", *words) == 0
    assert "a warped image does not keep its position on the map (GeoTIFF tags)" in capsys.readouterr().err
    assert not read(tmp_path / "b.tif").tags


def test_lost_metadata_of_data_files(files, tmp_path, capsys):
    tifffile.imwrite(
        tmp_path / "a.tif", ramp(6, 7, 1, np.uint16)[..., 0], extratags=[(33550, 12, 3, (1.0, 1.0, 0.0), True)]
    )
    assert command("upscale", tmp_path / "a.tif", tmp_path / "b.png", "--model", files(1)) == 0
    assert "b.png: PNG does not keep the input's GeoTIFF tags" in capsys.readouterr().err
