"""The ComfyUI node, tested with fakes of ComfyUI's modules."""
from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import ROOT
from experiment import NETWORK

import liif_basicsr
from liif_basicsr.archs import build_network
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import checkpoint
from liif_basicsr.rendering import memory

FOLDER = ROOT / "liif_basicsr" / "integrations" / "comfyui"


class Interrupted(Exception):
    """ComfyUI raises this between two steps after the user has stopped a workflow."""


class Comfy:
    """Fakes of the parts of ComfyUI that the node uses.

    Attributes:
        progress: (finished, total) of each update.
        stop_after: number of layers after which the user interrupts.
    """

    def __init__(self, models: Path) -> None:
        self.progress: list[tuple[int, int]] = []
        self.stop_after: int | None = None
        self.layers = 0
        cpu = torch.device("cpu")
        management = {
            "get_torch_device": lambda: cpu, "intermediate_device": lambda: cpu, "free_memory": lambda size, device: [],
            "throw_exception_if_processing_interrupted": self.check_interrupt,
        }  # fmt: skip
        self.modules = {
            "comfy": {"model_management": SimpleNamespace(**management)},
            "comfy.utils": {"ProgressBar": self.progress_bar},
            "folder_paths": {
                "get_filename_list": lambda folder: sorted(path.name for path in models.iterdir()),
                "get_full_path_or_raise": lambda folder, name: str(models / name),
            },
            "nodes": {"MAX_RESOLUTION": 16384},
        }

    def progress_bar(self, total: int) -> Any:
        finished = 0

        def update(value: int) -> None:
            nonlocal finished
            finished += value
            self.progress.append((finished, total))

        return SimpleNamespace(update=update)

    def check_interrupt(self) -> None:
        self.layers += 1
        if self.stop_after is not None and self.layers > self.stop_after:
            raise Interrupted


@pytest.fixture
def models(tmp_path):
    """ComfyUI's folder of upscaling models, with a tiny network."""
    folder = tmp_path / "upscale_models"
    folder.mkdir()
    save(folder / "tiny.pth")
    return folder


@pytest.fixture
def comfy(models, monkeypatch):
    comfy = Comfy(models)
    for name, content in comfy.modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("liif_basicsr.integrations.comfyui", "liif_basicsr.integrations.comfyui.node"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield comfy
    for name in ("liif_basicsr.integrations.comfyui", "liif_basicsr.integrations.comfyui.node"):
        sys.modules.pop(name, None)


def save(path: Path, **changes: Any) -> None:
    """Write the checkpoint of a tiny network."""
    torch.manual_seed(0)
    block = {**NETWORK, **changes}
    checkpoint.save(path, {"params": build_network(block).state_dict(), "network_g": block})


def load_node(folder: Path = FOLDER) -> Any:
    """Load a folder of `custom_nodes` as ComfyUI does, and return the node's class."""
    spec = importlib.util.spec_from_file_location(str(folder), folder / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NODE_CLASS_MAPPINGS.keys() == module.NODE_DISPLAY_NAME_MAPPINGS.keys() == {"LIIFUpscale"}
    return module.NODE_CLASS_MAPPINGS["LIIFUpscale"]


def run(image: torch.Tensor, model: str = "tiny.pth", **inputs: Any) -> torch.Tensor:
    """Run the node with ComfyUI's default values for the other inputs."""
    node = load_node()
    known = node.INPUT_TYPES()["required"]
    assert inputs.keys() <= known.keys() and model in known["model"][0]
    values = {name: options["default"] for name, (_, options) in list(known.items())[2:]}
    (output,) = getattr(node(), node.FUNCTION)(image=image, model=model, **{**values, **inputs})
    return output


def frames(count: int = 1, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, 12, 16, channels, generator=torch.Generator().manual_seed(1))


def expected(frame: torch.Tensor, model: Any, **more: Any) -> torch.Tensor:
    """Return an image upscaled in the precision that the node chooses."""
    precision = liif_basicsr.devices.best_precision(torch.device("cpu"), bits=8)
    pixels = liif_basicsr.upscale(frame.numpy(), model=str(model), precision=precision, **more)
    return torch.from_numpy(pixels)


def test_copied_folder_uses_the_installed_package(comfy, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "custom_nodes" / "liif_basicsr")
    (tmp_path / "custom_nodes" / "liif_basicsr" / "node.py").write_text("raise RuntimeError")
    assert load_node(tmp_path / "custom_nodes" / "liif_basicsr") is load_node()


def test_offers_bundled_models_and_files(comfy, models):
    shutil.copy(models / "tiny.pth", models / "other.pth")
    offered = load_node().INPUT_TYPES()["required"]["model"][0]
    assert offered[:2] == ["liif-photo", "liif-fast"] and offered[-2:] == ["other.pth", "tiny.pth"]


def test_frames_equal_single_images_and_report_progress(comfy, models, monkeypatch):
    monkeypatch.setattr("liif_basicsr.images.upscale.STRIP_ROWS", 15)  # two strips for each frame
    batch = frames(3)
    output = run(batch, scale=2.5)
    assert output.shape == (3, 30, 40, 3) and output.dtype == torch.float32
    for frame, upscaled in zip(batch, output, strict=True):
        torch.testing.assert_close(upscaled, expected(frame, models / "tiny.pth", scale=2.5), rtol=0, atol=0)
    assert comfy.progress == [(k * 15 * 40, 6 * 15 * 40) for k in range(1, 7)]


@pytest.mark.parametrize(("width", "height", "size"), [(40, 25, (25, 40)), (40, 0, (30, 40)), (0, 25, (25, 33))])
def test_size_takes_the_place_of_scale(comfy, models, width, height, size):
    output = run(frames(), scale=7.0, width=width, height=height)
    torch.testing.assert_close(output[0], expected(frames()[0], models / "tiny.pth", size=size), rtol=0, atol=0)


def test_strength(comfy, models):
    output = run(frames(), strength=0.25)
    torch.testing.assert_close(output[0], expected(frames()[0], models / "tiny.pth", strength=0.25), rtol=0, atol=0)


def test_values_outside_the_range_are_clipped_and_opacity_is_kept(comfy):
    rgba = torch.cat([frames() * 1.5 - 0.25, torch.full((1, 12, 16, 1), 0.5)], dim=-1)
    output = run(rgba)
    torch.testing.assert_close(output[..., :3], run(rgba[..., :3].clamp(0, 1)))
    assert (output[..., 3] == 0.5).all()


def test_one_frame_is_encoded_at_a_time(comfy):
    run(frames(1))
    per_frame, comfy.layers = comfy.layers, 0
    comfy.progress.clear()
    comfy.stop_after = per_frame + 1
    with pytest.raises(Interrupted):
        run(frames(40))
    assert len(comfy.progress) == 1


def test_interrupt_is_noticed_between_layers(comfy):
    comfy.stop_after = 2
    with pytest.raises(Interrupted):
        run(frames())
    assert not comfy.progress


@pytest.mark.parametrize(("inputs", "message"), [
    ({"width": 8}, "the output of 8x6 pixels would be smaller than the image of 16x12; choose a larger size"),
    ({"scale": 0.5}, "the output of 8x6 pixels would be smaller"),
    ({"scale": float("nan")}, "scale nan: expected a scale above 0"),
    ({"strength": 1.5}, "strength: expected a number from 0 to 1, got 1.5"),
])  # fmt: skip
def test_invalid_inputs(comfy, inputs, message):
    with pytest.raises(LIIFError, match=message) as caught:
        run(frames(), **inputs)
    assert "\n" not in str(caught.value)


def test_damaged_file_and_other_networks(comfy, models):
    content = (models / "tiny.pth").read_bytes()
    (models / "damaged.pth").write_bytes(content[: len(content) // 2])
    save(models / "gray.pth", num_in_ch=1, num_out_ch=1)
    torch.save(build_network(NETWORK).state_dict(), models / "undescribed.pth")
    for name, message in {
        "damaged.pth": "not a checkpoint, or damaged",
        "gray.pth": "maps 1 channels to 1, but the node needs RGB in and out; choose another model",
        "undescribed.pth": "not a checkpoint of a network",
    }.items():
        with pytest.raises(LIIFError, match=f"{name}: {message}"):
            run(frames(), name)


def test_output_larger_than_memory(comfy, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1 << 20)
    says = "40 images of 96x72: the output does not fit into memory .*; .* split the batch"
    with pytest.raises(LIIFError, match=says):
        run(frames(40), scale=6.0)


def test_invisible_opacity_names_the_frame(comfy):
    rgba = frames(2, channels=4)
    rgba[1, 0, 0, 3] = torch.nan
    with pytest.raises(LIIFError, match=r"image 2: expected opacity in \[0, 1\] in the last band, got nan to nan"):
        run(rgba)


def test_import_outside_comfyui(monkeypatch):
    monkeypatch.setitem(sys.modules, "folder_paths", None)
    with pytest.raises(LIIFError, match="ComfyUI cannot be imported .*; link this folder into ComfyUI's custom_nodes"):
        load_node()
