"""Other projects use the networks: Real-ESRGAN's upscaler, and a project with its own model and data.

Each runs in a process of its own without the start-up hook. Only `import liif_basicsr` connects it to the plugin.
"""
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from experiment import NETWORK, environ, make_images, train_options, write_options
from image_files import ramp

import liif_basicsr
from liif_basicsr.archs import build_network
from liif_basicsr.hub import checkpoint

PROJECT = Path(__file__).parents[1] / "other_project"


def run(*command):
    """Run a script and return its output."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], env={**environ(), "LIIF_BASICSR_DISABLE": "1"},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


# Real-ESRGAN --------------------------------------------------------------------------------------------------

SIZE = (37, 50)
KINDS = {"rgb": (3, np.uint8), "gray": (1, np.uint8), "rgba": (4, np.uint8), "deep": (3, np.uint16)}
# Receptive radius in input pixels: two convolutions per block, two around the blocks, then the decoder.
REACH = 2 * NETWORK["encoder"]["num_block"] + 2 + 2
# name -> kind of image, scale, arguments of RealESRGANer, outscale
CASES = {
    "rgb": ("rgb", 4, {"pre_pad": 0}, None),
    "odd": ("rgb", 3, {"pre_pad": 0}, None),
    "even": ("rgb", 2, {"pre_pad": 0}, None),  # Real-ESRGAN pads the image to an even height
    "padded": ("rgb", 4, {}, None),
    "tiles": ("rgb", 4, {"pre_pad": 0, "tile": 16, "tile_pad": REACH}, None),
    "outscale": ("rgb", 4, {"pre_pad": 0}, 2.5),
    "half": ("rgb", 4, {"pre_pad": 0, "half": True}, None),
    "gray": ("gray", 4, {"pre_pad": 0}, None),
    "rgba": ("rgba", 4, {"pre_pad": 0}, None),
    "deep": ("deep", 4, {"pre_pad": 0}, None),
}


@pytest.fixture(scope="module")
def enlarged(tmp_path_factory):
    """Outputs of RealESRGANer as {case: (output, mode)}, with their sources and the network."""
    if find_spec("realesrgan") is None:
        pytest.skip("realesrgan is not installed: pip install --no-deps realesrgan (dependencies are not needed)")
    folder = tmp_path_factory.mktemp("enlarged")
    model = str(folder / "net.pth")
    torch.manual_seed(0)
    other, net = build_network(NETWORK), build_network(NETWORK).eval()
    # Real-ESRGAN prefers params_ema, as the plugin does.
    checkpoint.save(model, {"params": other.state_dict(), "params_ema": net.state_dict(), "network_g": NETWORK})
    sources = {}
    for kind, (channels, dtype) in KINDS.items():
        noise = np.random.default_rng(0).integers(0, np.iinfo(dtype).max // 4, (*SIZE, channels), dtype)
        sources[kind] = ramp(*SIZE, channels, dtype) // 4 * 3 + noise
        cv2.imwrite(str(folder / f"{kind}.png"), sources[kind])
    cases = {name: (str(folder / f"{case[0]}.png"), model, *case[1:]) for name, case in CASES.items()}
    (folder / "cases.json").write_text(json.dumps(cases))
    run(PROJECT / "enlarge.py", folder / "cases.json", folder)
    outputs = {name: np.load(folder / f"{name}.npz") for name in CASES}
    return {name: (file["output"], str(file["mode"])) for name, file in outputs.items()}, sources, net


def rendered(net, pixels, scale=4):
    """Render an image (h, w, 3) in OpenCV's BGR order."""
    lq = torch.from_numpy(pixels[..., ::-1].astype(np.float32) / np.iinfo(pixels.dtype).max).permute(2, 0, 1)[None]
    output = net.render(lq, (scale * SIZE[0], scale * SIZE[1]))[0].clamp(0, 1) * np.iinfo(pixels.dtype).max
    return output.round().permute(1, 2, 0).numpy()[..., ::-1]


def differ(output, expected):
    """Return the largest difference in integer steps."""
    assert output.shape == expected.shape
    return np.abs(output.astype(float) - expected).max()


@pytest.mark.parametrize(("name", "scale"), [("rgb", 4), ("odd", 3), ("tiles", 4), ("half", 4)])
def test_realesrgan_renders_the_same_image(enlarged, name, scale):
    """In one case tiles overlap by the receptive radius. In half precision, pixels may differ by 2 of 255."""
    outputs, sources, net = enlarged
    output, mode = outputs[name]
    assert mode == "RGB" and output.dtype == np.uint8
    assert differ(output, rendered(net, sources["rgb"], scale)) <= (2 if name == "half" else 1)


@pytest.mark.parametrize(("name", "scale"), [("padded", 4), ("even", 2)])
def test_realesrgans_padding_changes_two_borders_only(enlarged, name, scale):
    outputs, sources, net = enlarged
    output, expected = outputs[name][0], rendered(net, sources["rgb"], scale)
    rows, cols = ((n - REACH) * scale for n in SIZE)
    assert differ(output[:rows, :cols], expected[:rows, :cols]) <= 1
    assert differ(output, expected) > 1


def test_outscale_resizes_the_networks_output(enlarged):
    outputs, _, _ = enlarged
    size = int(2.5 * SIZE[1]), int(2.5 * SIZE[0])
    assert np.array_equal(outputs["outscale"][0], cv2.resize(outputs["rgb"][0], size, interpolation=cv2.INTER_LANCZOS4))


def test_realesrgan_keeps_gray_alpha_and_16_bits(enlarged):
    outputs, sources, net = enlarged
    output, mode = outputs["rgba"]
    assert mode == "RGBA" and output.dtype == np.uint8
    assert differ(output[..., :3], rendered(net, sources["rgba"][..., :3])) <= 1
    planes = {"rgba": sources["rgba"][..., 3:], "gray": sources["gray"]}
    for (kind, plane), own in zip(planes.items(), (output[..., 3], outputs["gray"][0]), strict=True):
        colors = rendered(net, plane.repeat(3, axis=2)).astype(np.float32)
        assert differ(own, cv2.cvtColor(colors, cv2.COLOR_BGR2GRAY)) <= 1, kind
    output, _ = outputs["deep"]
    assert output.dtype == np.uint16
    assert differ(output, rendered(net, sources["deep"])) <= 2


# A project with its own model and data ---------------------------------------------------------------------------


def train(folder, opt):
    """Train with the project's own script. Return the script's output and the checkpoint."""
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    said = run(folder / "train.py", "-opt", write_options(folder / "options.yml", opt))
    return said, folder / "experiments" / "tiny" / "models" / "net_g_latest.pth"


def test_liif_trains_in_a_projects_model_on_its_data(tmp_path):
    opt = train_options(tmp_path, model_type="TheirModel", network_g={**NETWORK, "scale": 2})
    own = {"name": "theirs", "type": "TheirDataset", "io_backend": {"type": "disk"}, "dataset_enlarge_ratio": 1}
    opt["datasets"]["train"] = {**own, "num_worker_per_gpu": 0, "batch_size_per_gpu": 4}
    said, path = train(tmp_path, opt)
    assert "their step 6" in said and "iter:       6" in said
    net = build_network(opt["network_g"])
    net.load_state_dict(torch.load(path)["params"])
    with torch.no_grad():
        assert net(torch.rand(1, 3, 5, 7)).shape == (1, 3, 10, 14)


def test_a_projects_architecture_trains_as_an_encoder(tmp_path):
    images = make_images(tmp_path / "images", 3)
    network = {**NETWORK, "encoder": {"type": "BasicSRArch", "arch": {"type": "TheirArch", "num_feat": 5}}}
    said, path = train(tmp_path, train_options(images, network_g=network))
    assert "iter:       6" in said
    assert checkpoint.read(path)["network_g"] == network
    with pytest.raises(liif_basicsr.LIIFError, match="TheirArch"):  # known only in their project
        liif_basicsr.load(path)
