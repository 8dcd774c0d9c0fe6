"""The node `Upscale Image (LIIF)`."""
from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from liif_basicsr.devices import best_precision
from liif_basicsr.errors import LIIFError
from liif_basicsr.hub import list_models
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.size import DEFAULT_SCALE, OutputSize, show_size
from liif_basicsr.images.upscale import Upscaler
from liif_basicsr.images.values import PixelError
from liif_basicsr.rendering.memory import check_memory

try:
    import folder_paths
    from comfy import model_management
    from comfy.utils import ProgressBar
    from nodes import MAX_RESOLUTION
except ImportError as error:
    raise LIIFError(f"ComfyUI cannot be imported ({error}); link this folder into ComfyUI's custom_nodes") from error

# Folder of the checkpoints, below ComfyUI's folder `models`.
FOLDER = "upscale_models"
# Bytes of GPU memory that ComfyUI frees by unloading other models: enough for the features of an image and the
# activations of a tile.
GPU_BYTES = 3 << 30


class LIIFUpscale:
    """Upscales a batch of images with a network, one image at a time to save memory."""

    DESCRIPTION = "Upscales images to any size with a continuous network, such as LIIF."
    CATEGORY = "image/upscaling"
    FUNCTION = "upscale"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return a description of the inputs, with the known models and the available files."""
        length = {"default": 0, "min": 0, "max": MAX_RESOLUTION}
        return {"required": {
            "image": ("IMAGE",),
            "model": ([*list_models(installed=True), *folder_paths.get_filename_list(FOLDER)], {
                "tooltip": f"A model of liif_basicsr, or a checkpoint in models/{FOLDER}.",
            }),
            "scale": ("FLOAT", {
                "default": float(DEFAULT_SCALE), "min": 1.0, "max": 100.0, "step": 0.1, "round": 0.001,
                "tooltip": "Upscaling factor, unless width or height is set.",
            }),
            "width": ("INT", {**length, "tooltip": "Width of the output. 0 computes it from height or scale."}),
            "height": ("INT", {**length, "tooltip": "Height of the output. 0 computes it from width or scale."}),
            "strength": ("FLOAT", {
                "default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05,
                "tooltip": "Weight of the model. Below 1, the output of liif-fast is mixed in; this keeps more of the "
                "image's grain and defects.",
            }),
        }}  # fmt: skip

    def upscale(
        self, image: Tensor, model: str, scale: float, width: int, height: int, strength: float
    ) -> tuple[Tensor]:
        """Upscale a batch.

        Args:
            image: (B, h, w, C); values outside [0, 1] are clipped. A fourth channel is opacity.
            model: a known model, or a file in FOLDER.
            scale: upscaling factor; ignored if a width or height is positive.
            width, height: size of the output; 0 keeps the aspect ratio.
            strength: see `liif_basicsr.upscale`.

        Returns:
            (B, H, W, C) in [0, 1].

        Raises:
            LIIFError: the output is smaller than the input or does not fit into memory; or the model cannot be loaded
                or does not map RGB to RGB.
        """
        requested = OutputSize(height=height or None, width=width or None) if width or height else OutputSize.of(scale)
        size = requested.size_of((image.shape[1], image.shape[2]))
        upscaler = _open(model, strength)
        first = _frame(image[0])
        channels = upscaler.out_channels(first)
        device = model_management.intermediate_device()
        if device.type == "cpu":
            needed = len(image) * math.prod(size) * channels * 4 + upscaler.bytes_needed(first, size, False)
            check_memory(f"{len(image)} images of {show_size(size)}", needed, "split the batch")
        output = torch.empty(len(image), *size, channels, device=device)
        bar = ProgressBar(len(image) * math.prod(size))

        def advance(pixels: int) -> None:
            model_management.throw_exception_if_processing_interrupted()
            bar.update(pixels)

        for k, target in enumerate(output):
            top = 0
            try:
                for strip in upscaler.strips(_frame(image[k]), size, advance):
                    target[top : top + len(strip)] = torch.from_numpy(strip)
                    top += len(strip)
            except PixelError as error:
                raise LIIFError(f"image {k + 1}: {error}") from None
        return (output,)


def _open(model: str, strength: float) -> Upscaler:
    """Load a model onto ComfyUI's device."""
    path = model if model in list_models() else folder_paths.get_full_path_or_raise(FOLDER, model)
    device = model_management.get_torch_device()
    model_management.free_memory(GPU_BYTES, device)
    # Most images are read from and saved to 8-bit files, although ComfyUI's tensors are float32.
    precision = best_precision(device, bits=8)
    upscaler = Upscaler(path, str(device), precision, strength=strength, value_range=(0, 1))
    if (upscaler.net.num_in_ch, upscaler.net.num_out_ch) != (3, 3):
        channels = f"maps {upscaler.net.num_in_ch} channels to {upscaler.net.num_out_ch}"
        raise LIIFError(f"{path}: {channels}, but the node needs RGB in and out; choose another model")
    for net, _ in upscaler.weights:
        for module in net.encoder.modules():  # react to an interrupt within a tile, which takes seconds on a CPU
            module.register_forward_pre_hook(_check_interrupt)
    return upscaler


def _check_interrupt(*_: Any) -> None:
    model_management.throw_exception_if_processing_interrupted()


def _frame(image: Tensor) -> LoadedImage:
    """Convert an image (h, w, C) of a batch to a `LoadedImage`."""
    return LoadedImage(image.float().clamp(0, 1).cpu().numpy(), value_range=(0, 1))
